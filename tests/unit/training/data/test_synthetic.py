from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from contract.video import DecodeLimits, probe
from training.data.manifest import Manifest
from training.data.manifest_io import read_manifest
from training.data.synthetic import DIRECTION, SHAPE, TOPICS, generate
from training.data.validation import validate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return generate(tmp_path_factory.mktemp("synthetic"), clips=64, titles=120, seed=5)


def test_what_is_written_is_what_is_returned(made: Manifest) -> None:
    assert read_manifest(Path(made.media_root)) == made


def test_it_has_no_fault_with_its_media(made: Manifest) -> None:
    assert validate(made, check_media=True) == []


def test_the_smallest_set_has_no_error(tmp_path: Path) -> None:
    smallest = generate(tmp_path, clips=16, titles=12)
    assert [f for f in validate(smallest, check_media=True) if f.severity == "error"] == []
    with pytest.raises(ValueError, match="at least"):
        generate(tmp_path, clips=15)


def test_a_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first, second, other = (
        generate(tmp_path / name, clips=16, titles=12, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first.digest() == second.digest() != other.digest()
    clips = [sorted((tmp_path / name / "clips").iterdir()) for name in "ab"]
    assert [p.read_bytes() for p in clips[0]] == [p.read_bytes() for p in clips[1]]


def test_clips_are_tiny(made: Manifest) -> None:
    path = made.video_path(made.rows[0])
    assert path is not None
    found = probe(path, DecodeLimits())
    assert (found.width, found.height, found.packets) == (64, 48, 12)
    assert found.end_s == pytest.approx(1.0)


def test_every_kind_of_gap_occurs(made: Manifest) -> None:
    kinds = Counter((row.video is not None, bool(row.texts)) for row in made.rows)
    assert set(kinds) == {(True, False), (True, True), (False, True)}
    assert any("overlay_text" in row.texts for row in made.rows)
    assert any(not row.privileged for row in made.rows)
    assert any(None in values.values() for row in made.rows for values in row.privileged.values())


def test_every_fold_holds_every_class(made: Manifest) -> None:
    for test_fold in range(made.folds):
        for rows in made.split_rows(test_fold).values():
            for task in (DIRECTION, SHAPE):
                assert {r.labels[task.name] for r in rows if task.name in r.labels} == set(task.labels)


def test_privileged_features_tell_labels_better_than_words_do(made: Manifest) -> None:
    by_words, by_features, n = 0, 0, 0
    for row in made.rows:
        interest = row.privileged.get("reception", {}).get("giveaway_interest")
        if TOPICS.name not in row.labels or interest is None:
            continue
        truth = "giveaway" in row.labels[TOPICS.name]
        words = set(" ".join(row.texts.values()).split())
        by_words += truth == bool(words & {"free", "prize", "winner", "gift"})
        by_features += truth == (interest > 0.5)
        n += 1
    assert n > 80
    assert by_features / n > 0.95 > by_words / n > 0.7


def test_the_track_tells_the_direction(made: Manifest) -> None:
    tracked = [
        (row.labels[DIRECTION.name], velocity)
        for row in made.rows
        if (velocity := row.privileged.get("track", {}).get("velocity")) is not None
    ]
    assert np.mean([(label == "rightward") == (velocity > 0) for label, velocity in tracked]) > 0.98
