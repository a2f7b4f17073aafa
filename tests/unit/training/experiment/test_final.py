"""The final student, end to end: on the rows of every fold, by what the trials chose and said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from contract.bundle import read_bundle
from contract.decision import TaskKind
from contract.reference import SCORE_BOUNDS
from model_export.__main__ import main as export
from model_export.errors import ExportError
from model_export.reference import require_reference
from model_export.write_bundle import is_final, trial_index
from tests.unit.training.conftest import Toy
from training.__main__ import app
from training.atomic_write import write_json
from training.config import RunConfig
from training.data.manifest_io import write_manifest
from training.data.targets import task_targets
from training.data.validation import ManifestError
from training.evaluation.calibration import fit_policy, flag_scores
from training.experiment.final import train_final
from training.experiment.plan import FINAL_FOLDER, ExperimentPlan, Workplace, plan_trials
from training.experiment.predictions import PREDICTIONS_FILE, VALIDATION_PREDICTIONS_FILE, labelled_logits
from training.experiment.rounds import SELECTION_FOLDER
from training.experiment.run import run
from training.fitting.checkpoint import read_card
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


def finished(toy: Toy, plan: ExperimentPlan, home: Path) -> Path:
    """The folder of an experiment that is trained, with its final students; its cache lies beside it."""
    place = Workplace(home / "runs", home / "cache", None)
    run(toy.manifest, plan, place)
    assert train_final(toy.manifest, plan, place) == home / "runs" / FINAL_FOLDER
    return home / "runs"


@pytest.fixture(scope="module")
def plan(toy: Toy, tiny_config: RunConfig) -> ExperimentPlan:
    return planned(toy, tiny_config, toy.manifest.folds)


@pytest.fixture(scope="module")
def out(toy: Toy, plan: ExperimentPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment's folder with its final students."""
    return finished(toy, plan, tmp_path_factory.mktemp("final"))


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
    provenance = bundle.manifest.provenance
    assert provenance.every_fold_seen
    for task in toy.manifest.tasks:
        assert (
            provenance.metrics[task.name]["pr_auc"] == report["tasks"][task.name]["methods"]["cpfd"]["pr_auc"]["mean"]
        )
        assert (
            provenance.metrics[task.name]["overkill"] == report["tasks"][task.name]["final"]["cpfd"]["overkill"]["mean"]
        )
    reference = bundle.reference
    assert reference is not None
    assert reference.split == "out_of_fold"
    tested = {str(i) for one in out.glob(f"*/cpfd/{PREDICTIONS_FILE}") for i in np.load(one)["row_ids"]}
    assert reference.rows == len(tested)
    assert all(len(one.counts) == len(SCORE_BOUNDS) for one in reference.tasks.values())
    assert is_final(read_card(out / FINAL_FOLDER / "cpfd"), report)
    assert not is_final(read_card(out / "seed0-fold0" / "cpfd"), report)


@pytest.mark.parametrize("more", [-1, 1])
def test_folds_must_have_been_tested_equally_often(more: int, toy: Toy, tiny_config: RunConfig, tmp_path: Path) -> None:
    """Else rows of one fold would decide the thresholds twice."""
    plan = planned(toy, tiny_config, toy.manifest.folds + more)
    with pytest.raises(
        ValueError, match=f"{toy.manifest.folds + more} trials test {toy.manifest.folds} folds unequally"
    ):
        train_final(toy.manifest, plan, Workplace(tmp_path, tmp_path / "cache", None))


def test_without_folds_there_is_nothing_more_to_see(toy: Toy, plan: ExperimentPlan, tmp_path: Path) -> None:
    fixed = [row for row in toy.manifest.rows if row.fold is None]
    manifest = toy.manifest.model_copy(update={"rows": tuple(fixed), "folds": 0})
    with pytest.raises(ValueError, match="no folds"):
        train_final(manifest, plan, Workplace(tmp_path, tmp_path / "cache", None))


def test_the_report_holds_what_the_trials_students_do_at_its_thresholds(
    out: Path, toy: Toy, plan: ExperimentPlan
) -> None:
    report = build_report(out, toy.manifest, replicates=100)
    rows = {row.id: row for row in toy.manifest.rows}
    for task in toy.manifest.tasks:
        if task.kind is not TaskKind.BINARY:
            continue
        policy, flagged = read_card(out / FINAL_FOLDER / "cpfd").policy.tasks[task.name], list[float]()
        for trial in plan.trials:
            kept, logits = labelled_logits(out / trial.name / "cpfd" / PREDICTIONS_FILE, task, rows)
            negative = np.asarray([row.labels[task.name] == task.labels[0] for row in kept])
            flagged.append(
                float((flag_scores(logits, task, policy.temperature)[negative] >= policy.thresholds["flag"]).mean())
            )
        assert report["tasks"][task.name]["final"]["cpfd"]["overkill"]["mean"] == pytest.approx(
            np.mean(flagged), abs=1e-3
        )


def test_a_report_from_before_it_is_refused(out: Path, toy: Toy) -> None:
    report = build_report(out, toy.manifest, replicates=100)
    for task in report["tasks"].values():
        del task["final"]
    with pytest.raises(ExportError, match="older than the final student"):
        trial_index(read_card(out / FINAL_FOLDER / "cpfd"), report)


def test_a_final_checkpoint_that_was_carried_away_has_no_reference(out: Path, toy: Toy, tmp_path: Path) -> None:
    shutil.copytree(out / FINAL_FOLDER / "cpfd", tmp_path / "a" / "b")
    with pytest.raises(ExportError, match="not beside the one that holds it"):
        require_reference(tmp_path / "a" / "b", toy.manifest)
    require_reference(out / FINAL_FOLDER / "cpfd", toy.manifest)


def test_without_a_refit_and_with_cross_fitted_teachers_it_goes_the_same_way(
    toy: Toy, tiny_config: RunConfig, tmp_path: Path
) -> None:
    """Two seeds a fold: each row of a fold decides the thresholds as often as any other."""
    plan = planned(toy, tiny_config, 2 * toy.manifest.folds, ("cpfd_crossfit",))
    plain = plan.config.optimiser.model_copy(update={"refit": False, "keep": "last", "epochs": 1})
    plan = plan.model_copy(update={"config": plan.config.model_copy(update={"optimiser": plain})})
    place = Workplace(tmp_path / "runs", tmp_path / "cache", None)
    run(toy.manifest, plan, place)
    home = train_final(toy.manifest, plan, place)
    parts = sorted(path.name for path in home.glob("teacher_crossfit_*"))
    assert parts == [f"teacher_crossfit_{part}" for part in range(tiny_config.teacher.cross_fit_folds)]
    student = read_card(home / "cpfd_crossfit")
    assert student.epochs_kept == 1
    assert student.train_rows == sum(row.fold is not None or row.split == "train" for row in toy.manifest.rows)


def test_clips_that_are_no_longer_at_hand_stop_it(out: Path, toy: Toy, plan: ExperimentPlan, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "runs", ignore=shutil.ignore_patterns(FINAL_FOLDER))
    away = toy.manifest.model_copy(update={"media_root": str(tmp_path / "nowhere")})
    with pytest.raises(ManifestError):
        train_final(away, plan, Workplace(tmp_path / "runs", tmp_path / "cache", None))


def test_a_trial_that_is_not_finished_is_named(toy: Toy, plan: ExperimentPlan, tmp_path: Path) -> None:
    missing = r"seed0-fold0/teacher/validation_predictions\.npz"
    with pytest.raises(FileNotFoundError, match=missing):
        train_final(toy.manifest, plan, Workplace(tmp_path, tmp_path / "cache", None))
