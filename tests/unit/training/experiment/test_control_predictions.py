"""Controls beside a trial's methods: which rows they answer for, and what is told where one cannot be fitted."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from contract.decision import Modality, TaskKind, TaskSpec
from training.data.frames.frame_store import FrameStore
from training.data.manifest import Manifest, Row
from training.experiment.control_predictions import missing_controls, read_control, write_control_predictions

TASK = TaskSpec(name="spam", kind=TaskKind.BINARY, labels=("no", "yes"), modalities=(Modality.TEXT,))
NO_FRAMES = cast(FrameStore, None)


def parts_of(words: tuple[str, str]) -> dict[str, list[Row]]:
    """Six rows a split, of which the last holds a clip and no text."""
    made: dict[str, list[Row]] = {}
    for split in ("train", "val", "test"):
        rows = [
            Row(id=f"{split}{i}", texts={"title": words[i % 2]}, labels={"spam": ("no", "yes")[i % 2]}, group=f"{i}")
            for i in range(5)
        ]
        made[split] = [*rows, Row(id=f"{split}clip", video="clip.mp4", labels={"spam": "yes"}, group="c")]
    return made


def test_the_words_control_answers_for_all_rows_that_the_methods_answer_for(tmp_path: Path) -> None:
    parts = parts_of(("calm sea", "win money"))
    manifest = Manifest(name="m", tasks=(TASK,), rows=())
    write_control_predictions(tmp_path, manifest, parts, NO_FRAMES, 0)
    found = read_control(tmp_path, "tfidf_logistic", "spam")
    assert found is not None
    assert found.row_ids == [row.id for row in parts["test"]]
    assert found.scores[1] > found.scores[-1] > found.scores[0]
    assert not list(missing_controls(tmp_path, manifest, parts))


def test_a_control_that_cannot_be_fitted_is_left_out_with_its_reason_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = parts_of(("!!!", "?!"))
    manifest = Manifest(name="m", tasks=(TASK,), rows=())
    write_control_predictions(tmp_path, manifest, parts, NO_FRAMES, 0)
    assert read_control(tmp_path, "tfidf_logistic", "spam") is None
    assert "spam: tfidf_logistic is left out" in caplog.text
    assert "left_out" in (tmp_path / "tfidf_logistic-spam.json").read_text()
    assert not list(missing_controls(tmp_path, manifest, parts))
