"""What a report says of a folder that it cannot report on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.training.finished_run import FinishedRun, make_finished_run
from training.config import RunConfig
from training.experiment.plan import EXPERIMENT_FILE
from training.experiment.predictions import PREDICTIONS_FILE
from training.report.build import build_report, measure_all, read_plan
from training.teachers.confidence_record import CONFIDENCE_FILE


@pytest.fixture
def finished(tmp_path: Path, tiny_config: RunConfig) -> FinishedRun:
    return make_finished_run(tmp_path / "runs", tiny_config)


@pytest.mark.parametrize("report", [build_report, measure_all])
def test_an_unfinished_experiment_says_which_trial_lacks_what(finished: FinishedRun, report: object) -> None:
    (finished.runs / "seed0" / "cpfd" / PREDICTIONS_FILE).unlink()
    shutil.rmtree(finished.runs / "seed1")
    with pytest.raises(FileNotFoundError) as raised:
        report(finished.runs, finished.manifest, replicates=100)  # type: ignore[operator]
    said = str(raised.value)
    assert said.startswith(f"{finished.runs} is not finished: seed0 lacks cpfd; seed1 lacks teacher, ce, kd, pfd, cpfd")
    assert "resumes" in said


def test_a_teacher_without_the_record_of_its_confidence_is_not_finished(finished: FinishedRun) -> None:
    (finished.runs / "seed1" / CONFIDENCE_FILE).unlink()
    with pytest.raises(FileNotFoundError, match="seed1 lacks teacher"):
        build_report(finished.runs, finished.manifest, replicates=100)


def test_a_folder_without_an_experiment_is_named(finished: FinishedRun, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"elsewhere/experiment\.json: there is no such file; .* run"):
        read_plan(tmp_path / "elsewhere", finished.manifest)


def test_a_damaged_experiment_is_one_line(finished: FinishedRun) -> None:
    (finished.runs / EXPERIMENT_FILE).write_text('{"trials": [], "methods": ["nonsense"]}')
    with pytest.raises(ValueError, match=r"experiment\.json: trials: .*; methods: no method 'nonsense'") as raised:
        read_plan(finished.runs, finished.manifest)
    assert "\n" not in str(raised.value)
