"""Histograms of confidence, the comparison of fusions and the dropped features of a whole small trial."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from contract.decision import Modality, TaskKind, TaskSpec
from tests.unit.training.conftest import Toy
from training.config import RunConfig, TeacherConfig
from training.data.leakage import groups_without_top, leakage_report, most_telling
from training.data.loading.row_set import RowSet
from training.data.manifest import PrivilegedGroup
from training.data.targets import TaskTargets
from training.distillation.method import TeacherRecord
from training.experiment.fusion import FUSIONS, compare_fusions
from training.experiment.plan import ExperimentPlan, Trial, Workplace
from training.experiment.run import run
from training.teachers.confidence_record import (
    BINS,
    CONFIDENCE_FILE,
    HISTOGRAMS_FILE,
    Judged,
    record_histograms,
    warn_of_degenerate,
)


@pytest.fixture
def plan(toy: Toy, tiny_config: RunConfig) -> ExperimentPlan:
    optimiser = tiny_config.optimiser.model_copy(update={"epochs": 1})
    config = tiny_config.model_copy(update={"optimiser": optimiser, "teacher": TeacherConfig(drop_top=1)})
    digest = toy.manifest.digest()
    trial = Trial(seed=0, test_fold=0)
    return ExperimentPlan(trials=(trial,), methods=("cpfd_adaptive",), config=config, manifest_digest=digest)


def test_a_trial_records_confidence_in_sample_out_of_fold_and_held_out(
    toy: Toy, plan: ExperimentPlan, tmp_path: Path
) -> None:
    run(toy.manifest, plan, Workplace(tmp_path / "out", tmp_path / "cache", None))
    home = tmp_path / "out" / "seed0-fold0"
    means, found = (json.loads((home / name).read_text()) for name in (CONFIDENCE_FILE, HISTOGRAMS_FILE))
    assert set(means) == {"train", "test"}
    assert found["bins"] == BINS == 20
    for task, parts in found["tasks"].items():
        assert set(parts) == {"train", "train_crossfit", "test"}
        for part, one in parts.items():
            targets = toy.parts["test" if part == "test" else "train"].targets[task]
            per_row = targets.values.shape[1] if targets.values.ndim == 2 else 1
            assert len(one["counts"]) == BINS
            assert sum(one["counts"]) == targets.labelled.sum() * per_row
        assert parts["train"]["mean"] == pytest.approx(means["train"][task])
        assert parts["train"]["mean"] != parts["train_crossfit"]["mean"]
    dropped = set(most_telling(leakage_report(toy.manifest, 0), 1))
    card = json.loads((home / "teacher" / "checkpoint.json").read_text())
    read = {(group["name"], feature) for group in card["privileged"]["groups"] for feature in group["features"]}
    known = {(group.name, feature) for group in toy.manifest.privileged_groups for feature in group.features}
    assert dropped
    assert read == known - dropped
    assert card["config"]["teacher"]["drop_top"] == 1


def test_a_record_that_holds_all_parts_is_left_alone_and_one_that_lacks_a_part_is_not(tmp_path: Path) -> None:
    path = tmp_path / HISTOGRAMS_FILE
    path.write_text(json.dumps({"tasks": {"one": {"train": {}, "test": {}, "train_crossfit": {}}}}))
    before = path.read_bytes()
    nothing: Judged = ({}, cast(RowSet, SimpleNamespace(targets={})), cast(TeacherRecord, None))
    record_histograms(tmp_path, dict.fromkeys(("train", "test", "train_crossfit"), nothing), "true_prob")
    assert path.read_bytes() == before
    path.write_text(json.dumps({"tasks": {"one": {"train": {}, "test": {}}}}))
    record_histograms(tmp_path, dict.fromkeys(("train", "test", "train_crossfit"), nothing), "true_prob")
    assert json.loads(path.read_text())["bins"] == BINS


@pytest.mark.parametrize(
    ("logits", "temperature", "expected"),
    [
        ([9.0, -9.0], 1.0, "mean confidence"),
        ([0.5, -0.5], 1.0, "standard deviation 0.000"),
        ([3.0, 0.5], 20.0, "bound"),
        ([3.0, 0.5], 1.0, None),
    ],
)
def test_confidence_that_tells_rows_apart_in_name_only_is_told_of_once(
    caplog: pytest.LogCaptureFixture, logits: list[float], temperature: float, expected: str | None
) -> None:
    task = TaskSpec(name="risky", kind=TaskKind.BINARY, labels=("no", "yes"), modalities=(Modality.TEXT,))
    targets = TaskTargets(task, np.ones(2, np.bool_), np.asarray([1, 0], np.float32))
    rows = cast(RowSet, SimpleNamespace(targets={"risky": targets}))
    teacher = cast(TeacherRecord, SimpleNamespace(temperatures={"risky": temperature}))
    judged = ({"risky": np.asarray(logits, np.float32).reshape(2, 1)}, rows, teacher)
    trial = f"{logits} {temperature}"
    for _ in range(2):
        warn_of_degenerate(trial, judged, "true_prob")
    assert len(caplog.messages) == (expected is not None)
    assert expected is None or expected in caplog.messages[0]


def test_dropping_everything_is_refused_and_nothing_dropped_is_the_manifest(toy: Toy) -> None:
    assert groups_without_top(toy.manifest, 0, 0) == toy.manifest.privileged_groups
    alone = (PrivilegedGroup(name="track", features=("velocity",)),)
    with pytest.raises(ValueError, match="no privileged feature is left"):
        groups_without_top(toy.manifest.model_copy(update={"privileged_groups": alone}), 0, 1)


def test_later_teacher_options_leave_older_digests_alone() -> None:
    assert set(TeacherConfig().model_dump()) == {"fusion", "hidden_size", "dropout"}
    for changed in (TeacherConfig(drop_top=2), TeacherConfig(cross_fit_folds=5)):
        assert TeacherConfig.model_validate(changed.model_dump()) == changed
        assert changed.digest() != TeacherConfig().digest()


def test_fusions_are_compared_on_validation_rows(toy: Toy, plan: ExperimentPlan, tmp_path: Path) -> None:
    place = Workplace(tmp_path / "out", tmp_path / "cache", None)
    found = compare_fusions(toy.manifest, plan, place)
    assert found["split"] == "val"
    assert set(found["fusions"]) == set(FUSIONS) == {"gated_residual", "tokens", "concat", "film"}
    losses = {found["fusions"][name]["direction"]["ce"] for name in FUSIONS}
    assert len(losses) == len(FUSIONS)
    for tasks in found["fusions"].values():
        for one in tasks.values():
            assert one["ce"] == pytest.approx(sum(t["ce"] for t in one["trials"]) / len(one["trials"]))
            assert 0 <= one["pr_auc"] <= 1
    assert compare_fusions(toy.manifest, plan, place) == found
