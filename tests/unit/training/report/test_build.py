"""What a report says of a folder that it cannot report on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.training.finished_run import FinishedRun, make_finished_run
from training.atomic_write import write_json
from training.config import RunConfig
from training.experiment.plan import EXPERIMENT_FILE, read_plan
from training.experiment.predictions import PREDICTIONS_FILE
from training.report.build import build_report, measure_all
from training.report.markdown import render_task
from training.report.words import task_verdict
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


def test_a_task_with_positives_in_few_groups_has_figures_but_no_verdict(tmp_path: Path, tiny_config: RunConfig) -> None:
    """Of two tested rows one is positive: before, what a draw without it left undefined was left out of the p-value."""
    finished = make_finished_run(tmp_path / "runs", tiny_config)
    tested = {row.id for row in finished.manifest.rows if row.split == "test"}
    spam = [row.id for row in finished.manifest.rows if row.id in tested and row.labels["spam"] == "yes"]
    rows = []
    for row in finished.manifest.rows:
        labels = dict(row.labels)
        if row.id in tested and row.id not in (spam[0], spam[-1]):
            labels["spam"] = "no"
        rows.append(row.model_copy(update={"labels": labels}))
    manifest = finished.manifest.model_copy(update={"rows": tuple(rows)})
    plan = finished.plan.model_copy(update={"manifest_digest": manifest.digest()})
    write_json(finished.runs / EXPERIMENT_FILE, plan.model_dump(mode="json"))
    report = build_report(finished.runs, manifest, replicates=200)
    few, enough = report["tasks"]["spam"], report["tasks"]["topics"]
    assert few["verdicts_withheld"].startswith("held-out positives stand in 2 groups and negatives in 16:")
    assert "verdicts_withheld" not in enough
    entries = [entry for pair in few["comparisons"].values() for entry in pair.values()]
    assert {entry["p_holm"] for entry in entries} == {1.0}
    assert {entry["verdict"] for entry in entries} == {"not distinguishable"}
    assert few["methods"]["cpfd"]["f1"]["mean"] is not None
    assert "positives stand in 2 groups" in "\n".join(render_task("spam", few))
    verdict = task_verdict(few, "cpfd", report["methods"])
    assert verdict.status == "none"
    assert "no verdict" in verdict.headline
    assert "positives stand in 2 groups" in verdict.sentences[0]
    assert "positives stand in" not in "\n".join(render_task("topics", enough))
