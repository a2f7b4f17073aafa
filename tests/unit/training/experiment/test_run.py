"""What is told of a manifest's texts before anything is decoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.training.conftest import Toy
from training.config import RunConfig
from training.data.manifest import Row
from training.data.validation import ManifestError
from training.experiment.plan import ExperimentPlan, Workplace, plan_trials
from training.experiment.run import open_experiment


def _reading_titles(config: RunConfig) -> RunConfig:
    spec = config.input_spec.model_copy(update={"text_fields": config.input_spec.text_fields[:1]})
    return config.model_copy(update={"input_spec": spec})


def test_texts_that_the_preset_does_not_read_are_told(
    toy: Toy, tiny_config: RunConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    titles = tuple(row for row in toy.manifest.rows if row.video is None)
    found = toy.manifest.model_copy(update={"rows": titles, "folds": 0})
    plan = ExperimentPlan(
        trials=plan_trials(found, 1), config=_reading_titles(tiny_config), manifest_digest=found.digest()
    )
    open_experiment(found, plan, Workplace(tmp_path, tmp_path / "cache", None))
    held = sum("overlay_text" in row.texts for row in found.rows)
    assert caplog.messages[0] == f"overlay_text of {held} rows is not read: the preset's text_fields lack it"


def test_a_row_of_which_the_preset_reads_nothing_is_refused(toy: Toy, tiny_config: RunConfig, tmp_path: Path) -> None:
    mute = Row(id="mute", texts={"overlay_text": "wait for it", "title": " "}, fold=0, group="mute")
    found = toy.manifest.model_copy(update={"rows": (*toy.manifest.rows, mute)})
    plan = ExperimentPlan(
        trials=plan_trials(found, 1), config=_reading_titles(tiny_config), manifest_digest=found.digest()
    )
    with pytest.raises(
        ValueError, match=r"row mute: no clip, and no text that the preset reads \(text_fields: title\)"
    ):
        open_experiment(found, plan, Workplace(tmp_path, tmp_path / "cache", None))
    assert not (tmp_path / "cache").exists()


def test_clips_that_fail_to_decode_are_named_and_a_task_without_rows_stops_before_training(
    toy: Toy, tiny_config: RunConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no clip at all")
    rows = tuple(
        row if row.video is None else row.model_copy(update={"video": str(damaged)}) for row in toy.manifest.rows
    )
    found = toy.manifest.model_copy(update={"rows": rows})
    plan = ExperimentPlan(trials=plan_trials(found, 1), config=tiny_config, manifest_digest=found.digest())
    with pytest.raises(ManifestError, match=r"labels\.shape: no row has a label of this task"):
        open_experiment(found, plan, Workplace(tmp_path / "out", tmp_path / "cache", None))
    first = min(row.id for row in rows if row.video is not None)
    assert any(line.startswith(f"left out: row {first}: ") for line in caplog.messages)
