"""Each step of the replay names itself and how far it is off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contract.bundle import Bundle, read_bundle
from contract.errors import GoldenMismatch
from contract.replay import TIME_TOLERANCE_MS, GoldenClip, GoldenReplay, check_frames, check_ids, check_scores
from tests.synthetic_bundle import write_synthetic_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    home: Path = tmp_path_factory.mktemp("replay")
    return read_bundle(write_synthetic_bundle(home / "bundle"))


@pytest.fixture
def replay(bundle: Bundle) -> GoldenReplay:
    assert bundle.manifest.replay is not None
    return bundle.manifest.replay


@pytest.fixture
def clip(bundle: Bundle) -> GoldenClip:
    assert bundle.clip is not None
    return bundle.clip


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        (lambda ids: [*ids, 7, 7], 2),
        (lambda ids: ids[:-3], 3),
        (lambda ids: [ids[0], ids[1] + 1, *ids[2:]], 1),
        (lambda ids: [ids[0] + 1, *ids[1:], 7], 2),
    ],
)
def test_every_token_that_is_other_missing_or_too_many_counts(
    replay: GoldenReplay, change: object, differing: int
) -> None:
    assert callable(change)
    ids = list(replay.input_ids)
    check_ids(replay, ids)
    with pytest.raises(GoldenMismatch, match="tokens other") as told:
        check_ids(replay, change(ids))
    assert (told.value.stage, told.value.gap, told.value.tolerance) == ("tokenisation", differing, 0)


def test_frames_of_other_moments_are_the_decoders_fault(replay: GoldenReplay, clip: GoldenClip) -> None:
    pixels = np.zeros((len(replay.frame_times_ms), 32, 32, 3), np.uint8)
    late = [time + TIME_TOLERANCE_MS + 1 for time in replay.frame_times_ms[1:]]
    with pytest.raises(GoldenMismatch, match=" ms between") as told:
        check_frames(replay, clip, pixels, [replay.frame_times_ms[0], *late])
    assert (told.value.stage, told.value.tolerance) == ("decode", TIME_TOLERANCE_MS)
    assert told.value.gap == pytest.approx(TIME_TOLERANCE_MS + 1)


def test_other_pixels_are_the_decoders_fault_and_their_worst_frame_is_told(
    replay: GoldenReplay, clip: GoldenClip
) -> None:
    black = np.zeros((len(replay.frame_times_ms), 32, 32, 3), np.uint8)
    with pytest.raises(GoldenMismatch, match=" levels between") as told:
        check_frames(replay, clip, black, replay.frame_times_ms)
    assert (told.value.stage, told.value.tolerance) == ("decode", replay.pixel_tolerance)
    assert told.value.gap == pytest.approx(max(float(picture.mean()) for picture in clip.pixels))


def test_a_score_may_be_off_by_the_tolerance_and_no_more(replay: GoldenReplay) -> None:
    exact = {task: dict(labels) for task, labels in replay.scores.items()}
    assert check_scores(replay, exact) == 0.0
    task = next(iter(exact))
    label = next(iter(exact[task]))
    near = {**exact, task: {**exact[task], label: exact[task][label] + 0.5 * replay.score_tolerance}}
    assert check_scores(replay, near) == pytest.approx(0.5 * replay.score_tolerance)
    for wrong in (exact[task][label] + 1.5 * replay.score_tolerance, float("nan")):
        with pytest.raises(GoldenMismatch) as told:
            check_scores(replay, {**exact, task: {**exact[task], label: wrong}})
        assert (told.value.stage, told.value.tolerance) == ("inference", replay.score_tolerance)
