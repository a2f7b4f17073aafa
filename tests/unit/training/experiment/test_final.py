"""The final student, end to end: on the rows of every fold, by what the trials chose and said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from contract.bundle import read_bundle
from contract.reference import SCORE_BOUNDS
from model_export.__main__ import main as export
from model_export.write_bundle import is_final
from tests.unit.training.conftest import Toy
from training.__main__ import app
from training.atomic_write import write_json
from training.config import RunConfig
from training.data.manifest_io import write_manifest
from training.data.targets import task_targets
from training.evaluation.calibration import fit_policy
from training.experiment.final import FINAL_FOLDER, train_final
from training.experiment.plan import ExperimentPlan, Workplace, plan_trials
from training.experiment.predictions import PREDICTIONS_FILE, VALIDATION_PREDICTIONS_FILE
from training.experiment.rounds import SELECTION_FOLDER
from training.experiment.run import run
from training.fitting.checkpoint import CheckpointError, read_card
from training.fitting.selection import selection_of_all
from training.report.build import build_report

NOTES = """
intended_use: Tests.
not_for: [anything]
tasks:
"""


def planned(toy: Toy, config: RunConfig, seeds: int, methods: tuple[str, ...] = ("cpfd",)) -> ExperimentPlan:
    changes = {"refit": True, "keep": "best", "epochs": 3}
    config = config.model_copy(update={"optimiser": config.optimiser.model_copy(update=changes)})
    trials = plan_trials(toy.manifest, seeds)
    return ExperimentPlan(trials=trials, methods=methods, config=config, manifest_digest=toy.manifest.digest())


@pytest.fixture(scope="module")
def plan(toy: Toy, tiny_config: RunConfig) -> ExperimentPlan:
    return planned(toy, tiny_config, toy.manifest.folds)


@pytest.fixture(scope="module")
def out(toy: Toy, plan: ExperimentPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment's folder with its final students."""
    home = tmp_path_factory.mktemp("final")
    place = Workplace(home / "runs", home / "cache", None)
    run(toy.manifest, plan, place)
    assert train_final(toy.manifest, plan, place) == home / "runs" / FINAL_FOLDER
    return home / "runs"


@pytest.mark.parametrize("name", ["teacher", "cpfd"])
def test_it_has_seen_every_fold_and_no_row_of_a_fixed_test_or_validation_split(name: str, out: Path, toy: Toy) -> None:
    card = read_card(out / FINAL_FOLDER / name)
    seen = sum(row.fold is not None or row.split == "train" for row in toy.manifest.rows)
    assert 0 < card.train_rows == seen < len(toy.manifest.rows)
    assert card.train_rows > read_card(out / "seed0-fold0" / name).train_rows
    assert card.test_fold is None
    assert not list((out / FINAL_FOLDER).glob(f"**/{PREDICTIONS_FILE}")), "of no row of a fold it could be judged"


def test_its_teacher_is_the_final_one(out: Path) -> None:
    teacher, student = (read_card(out / FINAL_FOLDER / name) for name in ("teacher", "cpfd"))
    assert student.teacher_digest == teacher.digest()


def test_its_epochs_are_the_median_of_the_trials(out: Path, plan: ExperimentPlan) -> None:
    cards = [read_card(out / trial.name / SELECTION_FOLDER / "cpfd") for trial in plan.trials]
    kept = [card.epochs_kept or 0 for card in cards]
    assert read_card(out / FINAL_FOLDER / "cpfd").epochs_kept == round(float(np.median(kept)))


def test_its_thresholds_are_fitted_on_what_all_trials_said_of_their_validation_rows(
    out: Path, plan: ExperimentPlan, toy: Toy
) -> None:
    rows = {row.id: row for row in toy.manifest.rows}
    said = [np.load(out / trial.name / "cpfd" / VALIDATION_PREDICTIONS_FILE) for trial in plan.trials]
    together = [rows[row_id] for one in said for row_id in one["row_ids"].tolist()]
    of_folds = [row.id for row in together if row.fold is not None]
    assert sorted(of_folds) == sorted(row.id for row in toy.manifest.rows if row.fold is not None), "each once"
    logits = {task.name: np.concatenate([one[task.output_name] for one in said]) for task in toy.manifest.tasks}
    targets = [task_targets(together, task) for task in toy.manifest.tasks]
    assert read_card(out / FINAL_FOLDER / "cpfd").policy == fit_policy(logits, targets)


def test_of_what_predicted_nothing_the_temperatures_are_the_medians(out: Path, plan: ExperimentPlan) -> None:
    cards = [read_card(out / trial.name / "teacher") for trial in plan.trials]
    chosen = selection_of_all(cards)
    for name, task in chosen.policy.tasks.items():
        assert task.temperature == pytest.approx(np.median([card.temperatures[name] for card in cards]))
        assert task.thresholds == cards[0].policy.tasks[name].thresholds
    assert chosen.digest != selection_of_all(cards[:-1]).digest


def test_the_command_finds_it_done(out: Path, toy: Toy, tmp_path: Path) -> None:
    write_manifest(toy.manifest, tmp_path / "data")
    before = (out / FINAL_FOLDER / "cpfd" / "weights.pt").stat().st_mtime_ns
    given = ["--manifest", str(tmp_path / "data"), "--runs", str(out), "--cache", str(out.parent / "cache")]
    result = CliRunner().invoke(app, ["final", *given])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"out": str(out / FINAL_FOLDER), "methods": ["cpfd"]}
    assert (out / FINAL_FOLDER / "cpfd" / "weights.pt").stat().st_mtime_ns == before


def test_its_bundle_says_whose_figures_it_carries(out: Path, toy: Toy, tmp_path: Path) -> None:
    """Card and manifest hold the trials' means; the reference is of rows that the scoring student had not seen."""
    report = build_report(out, toy.manifest, replicates=100)
    write_json(tmp_path / "report.json", report)
    write_manifest(toy.manifest, tmp_path / "data")
    words = "".join(f"  {task.name}: {{asks: What, data: Toy., limits: All.}}\n" for task in toy.manifest.tasks)
    (tmp_path / "notes.yaml").write_text(NOTES + words)
    given = {"checkpoint": out / FINAL_FOLDER / "cpfd", "tokenizer": out / "tokenizer.json", "name": "final"}
    given |= {"notes": tmp_path / "notes.yaml", "report": tmp_path / "report.json", "manifest": tmp_path / "data"}
    arguments = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    with pytest.raises(SystemExit, match="0"):
        export([*arguments, "--out", str(tmp_path / "bundle"), "--serve-useless"])
    bundle = read_bundle(tmp_path / "bundle")
    card = (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    assert "every fold" in card
    assert "This very model has seen the rows of every fold" in card
    for task in toy.manifest.tasks:
        mean = report["tasks"][task.name]["methods"]["cpfd"]["pr_auc"]["mean"]
        assert bundle.manifest.provenance.metrics[task.name]["pr_auc"] == mean
    reference = bundle.reference
    assert reference is not None
    assert reference.split == "out_of_fold"
    tested = {str(i) for one in out.glob(f"*/cpfd/{PREDICTIONS_FILE}") for i in np.load(one)["row_ids"]}
    assert reference.rows == len(tested)
    assert all(len(one.counts) == len(SCORE_BOUNDS) for one in reference.tasks.values())
    assert is_final(read_card(out / FINAL_FOLDER / "cpfd"), report)
    assert not is_final(read_card(out / "seed0-fold0" / "cpfd"), report)


def test_an_experiment_that_left_a_fold_untested_has_none(toy: Toy, tiny_config: RunConfig, tmp_path: Path) -> None:
    plan = planned(toy, tiny_config, toy.manifest.folds - 1)
    with pytest.raises(ValueError, match=f"no trial tests fold {toy.manifest.folds - 1}"):
        train_final(toy.manifest, plan, Workplace(tmp_path, tmp_path / "cache", None))


def test_without_folds_there_is_nothing_more_to_see(toy: Toy, plan: ExperimentPlan, tmp_path: Path) -> None:
    fixed = [row for row in toy.manifest.rows if row.fold is None]
    manifest = toy.manifest.model_copy(update={"rows": tuple(fixed), "folds": 0})
    with pytest.raises(ValueError, match="no folds"):
        train_final(manifest, plan, Workplace(tmp_path, tmp_path / "cache", None))


def test_a_trial_that_is_not_finished_is_named(toy: Toy, plan: ExperimentPlan, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"seed0-fold0/teacher/checkpoint\.json"):
        train_final(toy.manifest, plan, Workplace(tmp_path, tmp_path / "cache", None))
