"""Other operating points for a finished experiment: whose thresholds move, what stays, and what reads them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from contract.bundle import read_bundle
from contract.decision import OperatingPoint
from model_export.__main__ import main as export
from tests.unit.training.conftest import Toy
from tests.unit.training.experiment.test_final import NOTES, finished, planned
from training.__main__ import app
from training.atomic_write import write_json
from training.config import RunConfig
from training.data.manifest_io import write_manifest
from training.experiment.plan import FINAL_FOLDER, ExperimentPlan
from training.experiment.predictions import VALIDATION_PREDICTIONS_FILE, PredictionsError
from training.experiment.repoint import judged_checkpoints, point_back, repoint
from training.fitting.checkpoint import CARD_FILE, POLICY_FILE, CheckpointError, read_card, read_policy
from training.report.build import build_report

DEAR_MISS = OperatingPoint(kind="cost_ratio", value=50)


@pytest.fixture(scope="module")
def plan(toy: Toy, tiny_config: RunConfig) -> ExperimentPlan:
    return planned(toy, tiny_config, toy.manifest.folds)


@pytest.fixture(scope="module")
def original(toy: Toy, plan: ExperimentPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(toy, plan, tmp_path_factory.mktemp("repoint"))


@pytest.fixture
def out(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(original, tmp_path / "runs"))


@pytest.fixture
def binary(toy: Toy) -> str:
    return next(task.name for task in toy.manifest.tasks if task.kind == "binary")


def test_the_presets_own_points_give_the_trainings_own_policies(toy: Toy, plan: ExperimentPlan, out: Path) -> None:
    found = repoint(toy.manifest, plan, out, {})
    assert set(found) == {str(home.relative_to(out)) for home in judged_checkpoints(plan, out)}
    assert f"{FINAL_FOLDER}/cpfd" in found
    for home in judged_checkpoints(plan, out):
        assert (home / POLICY_FILE).exists()
        assert read_policy(home) == read_card(home).policy


def test_a_point_moves_the_task_it_names_and_no_card(toy: Toy, plan: ExperimentPlan, out: Path, binary: str) -> None:
    before = {home: (home / CARD_FILE).read_bytes() for home in judged_checkpoints(plan, out)}
    found = repoint(toy.manifest, plan, out, {binary: DEAR_MISS})
    for home, card in before.items():
        assert (home / CARD_FILE).read_bytes() == card
        own, later = read_card(home).policy.tasks, read_policy(home).tasks
        assert later[binary].point == DEAR_MISS
        assert later[binary].thresholds == found[str(home.relative_to(out))][binary]
        assert later[binary].thresholds["flag"] < own[binary].thresholds["flag"]
        assert later[binary].temperature == own[binary].temperature
        assert {name: task for name, task in later.items() if name != binary} == {
            name: task for name, task in own.items() if name != binary
        }
    assert point_back(plan, out)[f"{FINAL_FOLDER}/cpfd"] == {
        name: dict(task.thresholds) for name, task in read_card(out / FINAL_FOLDER / "cpfd").policy.tasks.items()
    }
    assert not list(out.glob(f"**/{POLICY_FILE}"))


def test_report_and_bundle_follow_and_an_older_report_is_refused(
    toy: Toy, plan: ExperimentPlan, out: Path, binary: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older = build_report(out, toy.manifest, replicates=100)
    repoint(toy.manifest, plan, out, {binary: DEAR_MISS})
    newer = build_report(out, toy.manifest, replicates=100)
    misses = [report["tasks"][binary]["final"]["cpfd"]["miss_rate"]["mean"] for report in (older, newer)]
    assert misses[1] <= misses[0]
    flagged = [report["tasks"][binary]["final"]["cpfd"]["overkill"]["mean"] for report in (older, newer)]
    assert flagged[1] > flagged[0]

    write_manifest(toy.manifest, tmp_path / "data")
    words = "".join(f"  {task.name}: {{asks: What, data: Toy., limits: All.}}\n" for task in toy.manifest.tasks)
    (tmp_path / "notes.yaml").write_text(NOTES + words)
    given = {"checkpoint": out / FINAL_FOLDER / "cpfd", "tokenizer": out / "tokenizer.json", "name": "moved"}
    given |= {"notes": tmp_path / "notes.yaml", "report": tmp_path / "report.json", "out": tmp_path / "bundle"}
    arguments = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    write_json(tmp_path / "report.json", older)
    with pytest.raises(SystemExit) as refused:
        export([*arguments, "--serve-useless"])
    assert refused.value.code not in (0, None)
    assert "of other thresholds" in caplog.text
    assert not (tmp_path / "bundle").exists()
    del older["policies"]  # as reports from before repoint
    write_json(tmp_path / "report.json", older)
    with pytest.raises(SystemExit):
        export([*arguments, "--serve-useless"])
    assert caplog.text.count("of other thresholds") == 2
    write_json(tmp_path / "report.json", newer)
    with pytest.raises(SystemExit, match="0"):
        export([*arguments, "--serve-useless"])
    served = read_bundle(tmp_path / "bundle").manifest.policy.tasks[binary]
    assert served == read_policy(out / FINAL_FOLDER / "cpfd").tasks[binary]
    assert "at its threshold (cost_ratio 50)" in (tmp_path / "bundle" / "MODEL_CARD.md").read_text()


def test_no_mean_is_taken_over_different_points(
    toy: Toy, plan: ExperimentPlan, out: Path, binary: str, tmp_path: Path
) -> None:
    """As after a repoint that was killed, or a trial that came later."""
    repoint(toy.manifest, plan, out, {binary: DEAR_MISS})
    (out / plan.trials[-1].name / "cpfd" / POLICY_FILE).unlink()
    with pytest.raises(ValueError, match=rf"{plan.trials[-1].name}/cpfd is cut at other operating points"):
        build_report(out, toy.manifest, replicates=100)


def test_a_policy_of_another_checkpoint_is_refused(toy: Toy, plan: ExperimentPlan, out: Path) -> None:
    repoint(toy.manifest, plan, out, {})
    home = out / plan.trials[0].name / "cpfd"
    shutil.copy(out / FINAL_FOLDER / "cpfd" / POLICY_FILE, home)
    with pytest.raises(CheckpointError, match="another checkpoint"):
        read_policy(home)
    (home / POLICY_FILE).write_text("{}")
    with pytest.raises(CheckpointError, match=r"policy\.json"):
        read_policy(home)


def test_nothing_is_written_where_predictions_are_of_another_checkpoint(
    toy: Toy, plan: ExperimentPlan, out: Path
) -> None:
    last = out / plan.trials[-1].name / "cpfd" / VALIDATION_PREDICTIONS_FILE
    with np.load(last) as arrays:
        np.savez(last, **{name: arrays[name] for name in arrays.files if name != "checkpoint"}, checkpoint="other")
    with pytest.raises(PredictionsError, match=plan.trials[-1].name):
        repoint(toy.manifest, plan, out, {})
    assert not list(out.glob(f"**/{POLICY_FILE}"))


def test_the_command(toy: Toy, out: Path, binary: str, tmp_path: Path) -> None:
    write_manifest(toy.manifest, tmp_path / "data")
    given = ["repoint", "--manifest", str(tmp_path / "data"), "--runs", str(out)]
    done = CliRunner().invoke(app, [*given, "--point", f"{binary}=review_budget:0.25"])
    assert done.exit_code == 0, done.output
    thresholds = json.loads(done.stdout)[f"{FINAL_FOLDER}/cpfd"][binary]
    assert thresholds == read_policy(out / FINAL_FOLDER / "cpfd").tasks[binary].thresholds
    assert CliRunner().invoke(app, [*given, "--back"]).exit_code == 0
    assert not list(out.glob(f"**/{POLICY_FILE}"))
    for wrong in ([], ["--back", "--point", f"{binary}=max_f1"], ["--point", binary], ["--point", f"{binary}=best:2"]):
        assert CliRunner().invoke(app, [*given, *wrong]).exit_code == 2
    nowhere = CliRunner().invoke(app, [*given, "--point", "nothing=max_f1"])
    assert isinstance(nowhere.exception, ValueError)
    assert binary in str(nowhere.exception)
