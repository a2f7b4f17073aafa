from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contract.decision import TaskKind, TaskSpec
from contract.input_spec import InputSpec
from tests.unit.contract.clips import write_numbered
from training.data.frames.frame_cache import FrameCache
from training.data.manifest import Manifest, Row
from training.data.synthetic import generate
from training.evaluation.controls import (
    CONTAINER_FEATURES,
    ControlModel,
    background_features,
    container_features,
    fit_control,
    fit_text_control,
)


def test_container_features_are_what_the_file_says(tmp_path: Path) -> None:
    made = generate(tmp_path, clips=16, titles=12)
    rows = [row for row in made.rows if row.video][:2]
    features = container_features(rows, made)
    path = made.video_path(rows[1])
    assert path is not None
    size = path.stat().st_size
    np.testing.assert_allclose(features[1], (1.0, 12.0, 64, 48, size, size), rtol=1e-6)
    assert container_features([], made).shape == (0, len(CONTAINER_FEATURES))
    with pytest.raises(ValueError, match="no video"):
        container_features([made.rows[-1]], made)


def stored(tmp_path: Path, frames: np.ndarray) -> FrameCache:
    np.save(tmp_path / "a.npy", frames)
    return FrameCache(InputSpec(frames=len(frames), frame_size=frames.shape[1]), {"a": tmp_path / "a.npy"})


@pytest.mark.parametrize("side", [16, 24, 112])
def test_the_background_is_what_does_not_move(tmp_path: Path, side: int) -> None:
    frames = np.full((5, side, side, 3), 51, np.uint8)
    for t in range(5):
        frames[t, t : t + 1, :, :] = 255
    features = background_features([Row(id="a", group="g")], stored(tmp_path, frames))
    assert features.shape == (1, 432)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, 0.2, rtol=1e-6)


def test_the_thumbnail_keeps_place_and_colour(tmp_path: Path) -> None:
    frames = np.zeros((3, 24, 24, 3), np.uint8)
    frames[:, :2, 22:, 1] = 255
    thumbnail = background_features([Row(id="a", group="g")], stored(tmp_path, frames)).reshape(12, 12, 3)
    assert thumbnail[0, 11, 1] == 1
    assert thumbnail.sum() == 1


@pytest.mark.parametrize("model", ["logistic", "forest", "extra_trees"])
def test_a_control_finds_what_is_there_and_repeats(model: ControlModel) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    features = np.eye(3)[y] * 2 + rng.normal(0, 0.3, (90, 3))
    scores = fit_control(features[:60], y[:60], features[60:], 7, model=model)
    assert scores.shape == (30, 3)
    np.testing.assert_allclose(scores.sum(1), 1)
    assert (scores.argmax(1) == y[60:]).mean() > 0.9
    np.testing.assert_array_equal(scores, fit_control(features[:60], y[:60], features[60:], 7, model=model))


def test_features_of_any_scale_count_the_same() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    features = y[:, None] + rng.normal(0, 0.3, (60, 2))
    scaled = features * (1e-6, 1e6)
    np.testing.assert_allclose(
        fit_control(features, y, features, 0), fit_control(scaled, y, scaled, 0), rtol=1e-3, atol=1e-3
    )


def test_a_class_that_train_lacks_scores_zero_in_its_own_column() -> None:
    features = np.asarray([[0.0], [0.1], [1.0], [1.1]])
    scores = fit_control(features, np.asarray([0, 0, 2, 2]), features, 0, classes=4)
    assert scores.shape == (4, 4)
    np.testing.assert_array_equal(scores[:, [1, 3]], 0)
    np.testing.assert_array_equal(scores.argmax(1), [0, 0, 2, 2])


@pytest.mark.parametrize(("labels", "classes"), [([0, 0], None), ([0, 3], 3), ([-1, 1], None)])
def test_labels_that_cannot_be_fitted_are_refused(labels: list[int], classes: int | None) -> None:
    with pytest.raises(ValueError, match="classes"):
        fit_control(np.zeros((2, 1)), np.asarray(labels), np.zeros((1, 1)), 0, classes=classes)


def test_text_control_reads_words() -> None:
    texts = [f"{word} video number {n}" for n in range(20) for word in ("free", "quiet")]
    scores = fit_text_control(texts, np.tile([1, 0], 20), ["a free gift", "a quiet day"])
    assert scores[0] > 0.5 > scores[1]
    with pytest.raises(ValueError, match="two classes"):
        fit_text_control(texts, np.ones(40, int), ["a"])


def text_scores(texts: list[str], asked: list[str]) -> list[float]:
    return fit_text_control(texts, np.tile([1, 0], len(texts) // 2), asked).tolist()


def test_the_text_control_reads_pairs_of_words_and_no_longer_runs() -> None:
    one, other = text_scores(["not good", "good not"] * 10, ["not good", "good not"])
    assert one > 0.6 > 0.4 > other
    # The same words and the same pairs, in another order.
    one, other = text_scores(["b c b d b", "b d b c b"] * 10, ["b c b d b", "b d b c b"])
    assert one == pytest.approx(0.5, abs=1e-6)
    assert other == pytest.approx(0.5, abs=1e-6)


def test_the_text_control_reads_words_of_one_letter_and_of_any_script() -> None:
    for word, opposite in (("x", "y"), ("東京", "大阪")):
        one, other = text_scores([word, opposite] * 10, [word, opposite])
        assert one > 0.6 > 0.4 > other


def test_a_word_said_thirty_times_does_not_drown_the_one_beside_it() -> None:
    alone, beside = text_scores(["free", "quiet"] * 10, ["free " * 30, "free " * 30 + "quiet"])
    assert alone - beside > 0.03


def test_container_features_are_rates_where_a_clip_is_not_one_second_long(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "a.mp4", 50)  # one picture each 40 ms
    task = TaskSpec(name="t", kind=TaskKind.BINARY, labels=("no", "yes"))
    row = Row(id="a", group="g", video="a.mp4", labels={})
    made = Manifest(name="one", tasks=(task,), media_root=str(tmp_path), rows=(row,))
    size = path.stat().st_size
    found = container_features(made.rows, made)[0]
    np.testing.assert_allclose(found, (2.0, 25.0, 128, 64, size, size / 2), rtol=1e-6)


@pytest.mark.parametrize(("model", "finds"), [("logistic", False), ("forest", True), ("extra_trees", True)])
def test_trees_find_what_no_line_divides(model: ControlModel, finds: bool) -> None:
    rng = np.random.default_rng(0)
    features = rng.uniform(-1, 1, (240, 2))
    y = (features[:, 0] * features[:, 1] > 0).astype(int)
    scores = fit_control(features[:160], y[:160], features[160:], 3, model=model)
    assert ((scores.argmax(1) == y[160:]).mean() > 0.8) == finds


@pytest.mark.parametrize("model", ["forest", "extra_trees"])
def test_a_control_of_trees_asks_three_hundred_of_them(model: ControlModel) -> None:
    """Shares of votes are thirds of a percent: fewer trees would make a weaker control."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    features = y[:, None] + rng.normal(0, 2, (60, 2))
    asked = rng.normal(0, 2, (40, 2))
    one, other = (fit_control(features, y, asked, seed, model=model) for seed in (1, 2))
    assert np.abs(one - other).max() > 0, "the seed is the trees'"
    if model == "extra_trees":  # leaves of one row vote for one class
        np.testing.assert_allclose(one * 300, np.round(one * 300), atol=1e-6)
        assert np.abs(one * 100 - np.round(one * 100)).max() > 0.1
