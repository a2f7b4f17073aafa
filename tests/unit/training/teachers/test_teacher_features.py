"""Teacher features: stored by digest, batched with the rows they are of, and read by a student in training alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import training.experiment.run as experiment
import training.fitting.loop as loop_module
from contract.decision import TaskKind
from tests.unit.training.conftest import Toy
from training.config import RunConfig
from training.data.loading.epoch_batches import batches_in_epoch, training_batches
from training.data.loading.row_set import TeacherFeatures, with_privileged, with_soft_targets, with_teacher_features
from training.data.privileged import PrivilegedStatistics
from training.distillation.batch_loss import plan_loss
from training.experiment.plan import ExperimentPlan, Trial, Workplace
from training.fitting.checkpoint import read_checkpoint
from training.fitting.fit import FitData, fit
from training.fitting.predict import forward
from training.models.build import build_model
from training.models.companions import FeatureProjector
from training.models.xvlm import XVLM
from training.teachers.soft_targets import SoftTargetsError
from training.teachers.teacher_features import read_teacher_features, write_teacher_features
from training.teachers.trial_teachers import Teachers


@pytest.fixture(scope="module")
def short(tiny_config: RunConfig) -> RunConfig:
    """Two epochs."""
    return tiny_config.model_copy(update={"optimiser": tiny_config.optimiser.model_copy(update={"epochs": 2})})


@pytest.fixture(scope="module")
def teachers(toy: Toy, short: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Teachers:
    statistics = PrivilegedStatistics.fit(toy.parts["train"].rows, toy.manifest.privileged_groups)
    return Teachers(tmp_path_factory.mktemp("teachers"), toy.data, short, statistics, 0)


@pytest.fixture(scope="module")
def taught_data(toy: Toy, teachers: Teachers) -> FitData:
    """The toy rows with a teacher's logits and features."""
    train = with_soft_targets(toy.parts["train"], teachers.get("privileged").soft_targets)
    return replace(toy.data, train=with_teacher_features(train, teachers.features("privileged")))


@pytest.mark.parametrize("role", ["privileged", "plain"])
def test_heads_make_the_soft_targets_of_the_features(teachers: Teachers, role: str) -> None:
    taught, features = teachers.get(role), teachers.features(role)  # type: ignore[arg-type]
    model, _ = read_checkpoint(teachers.home / ("teacher" if role == "privileged" else "teacher_plain"))
    student = model if isinstance(model, XVLM) else model.xvlm
    with torch.no_grad():
        logits = student.classify(torch.from_numpy(features.represented_ND))
    for name, expected in taught.soft_targets.items():
        assert np.allclose(logits[name].numpy(), expected, atol=1e-5)
        last = student.heads[name][-1]
        assert np.array_equal(features.classifiers[name][:, :-1], last.weight.detach().numpy())
        assert np.array_equal(features.classifiers[name][:, -1], last.bias.detach().numpy())


def test_tokens_are_represented_as_they_are_classified(toy: Toy, teachers: Teachers, short: RunConfig) -> None:
    config = short.model_copy(update={"teacher": short.teacher.model_copy(update={"fusion": "tokens"})})
    model = build_model(config, toy.manifest.tasks, teachers.statistics).eval()
    batch = with_privileged(toy.parts["train"], teachers.statistics).build([(0, None), (1, None)])
    with torch.no_grad():
        represented = model.encode(**batch.inputs, privileged=batch.privileged)
        assert torch.equal(model.xvlm.classify(represented)["shape"], forward(model, batch)["shape"])


def test_features_of_another_teacher_or_other_rows_are_refused(toy: Toy, teachers: Teachers) -> None:
    card, train = teachers.get("privileged").card, toy.parts["train"]
    stored = teachers.features("privileged")
    path = teachers.home / "soft_targets" / "teacher_features.npz"
    turned = replace(train, rows=train.rows[::-1])
    assert np.array_equal(read_teacher_features(path, card, turned).represented_ND, stored.represented_ND[::-1])
    with pytest.raises(SoftTargetsError, match="another teacher"):
        read_teacher_features(path, card.model_copy(update={"seed": 9}), train)
    strangers = [row.model_copy(update={"id": "stranger"}) for row in train.rows[:1]]
    with pytest.raises(SoftTargetsError, match="1 rows, the first being stranger"):
        read_teacher_features(path, card, replace(train, rows=strangers))


def test_a_teacher_of_privileged_features_alone_has_none_to_follow(teachers: Teachers, tmp_path: Path) -> None:
    teachers.get("privileged_only")
    with pytest.raises(SoftTargetsError, match="no representation"):
        write_teacher_features(tmp_path, teachers.home / "teacher_privileged_only", teachers.data.train)


def test_borrowed_labels_bring_their_own_features(toy: Toy) -> None:
    """A clip that borrows a text takes labels it lacks, soft targets and features from the text's row."""
    rows = toy.parts["train"]
    numbered = np.arange(len(rows.rows), dtype=np.float32)[:, None]
    rows = with_teacher_features(rows, TeacherFeatures(numbered, {}))
    clip, text = int(np.flatnonzero(rows.has_video)[0]), int(np.flatnonzero(~rows.has_video)[0])
    for name, targets in rows.targets.items():
        found = rows.build([(clip, text)]).tasks[name].features_ND
        assert found is not None
        source = clip if targets.labelled[clip] else text
        assert found[:, 0].tolist() == ([float(source)] if targets.labelled[source] else [])


def test_every_head_of_the_toy_reaches_the_projections(toy: Toy, taught_data: FitData, short: RunConfig) -> None:
    assert {task.kind for task in toy.manifest.tasks} == set(TaskKind)
    rows = taught_data.train
    assert rows.teacher_features is not None
    classifiers = {name: torch.from_numpy(values) for name, values in rows.teacher_features.classifiers.items()}
    width = short.model.text.hidden_size
    model = FeatureProjector(build_model(short, toy.manifest.tasks, None), classifiers, width, width)
    trained = {name for name, _ in model.named_parameters()}
    assert not any(name.startswith("teacher_layers") for name in trained)
    plan = plan_loss("pckd", short, None, rows, 0, 10)
    for batch in training_batches(rows, short.optimiser, 0, 0):
        outputs = forward(model, batch)
        assert all(value.ndim == 2 and len(value) == len(batch.inputs["frames"]) for value in outputs.values())
        plan.epoch(0, 10)(batch, outputs, 0).backward()
    projections = {n: p for n, p in model.named_parameters() if n.startswith(("to_student", "to_teacher", "align"))}
    assert len(projections) == 3 * 2 * 2 + 6
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in projections.values())


def test_pckd_resumes_and_leaves_no_companion_in_the_checkpoint(
    toy: Toy,
    taught_data: FitData,
    teachers: Teachers,
    short: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = teachers.get("privileged").card

    def train(name: str) -> tuple[float, ...]:
        return fit(tmp_path / name, taught_data, short, method="pckd", seed=0, teacher=card, role="student").losses

    whole = train("whole")
    real, calls = loop_module.train_step, []
    steps = batches_in_epoch(taught_data.train, short.optimiser)

    def dies_in_the_second_epoch(*args: object) -> float:
        calls.append(1)
        if len(calls) == steps + 1:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(loop_module, "train_step", dies_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        train("killed")
    monkeypatch.setattr(loop_module, "train_step", real)
    torch.rand(3)
    assert train("killed") == whole
    states = [read_checkpoint(tmp_path / name)[0].state_dict() for name in ("whole", "killed")]
    plain = build_model(short, toy.manifest.tasks, None).state_dict()
    assert set(states[0]) == set(plain)
    assert all(torch.equal(states[0][name], states[1][name]) for name in plain)


def test_pckd_without_features_is_refused(toy: Toy, short: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs the teacher's features"):
        fit(tmp_path / "s", toy.data, short, method="pckd", seed=0)


def test_features_are_computed_only_where_a_method_asks(
    toy: Toy, short: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = short.model_copy(update={"optimiser": short.optimiser.model_copy(update={"epochs": 1})})
    monkeypatch.setattr(experiment, "write_control_predictions", lambda *args: None)
    place = Workplace(tmp_path / "out", tmp_path / "cache", None)
    stored = place.out / "seed0-fold0" / "soft_targets" / "teacher_features.npz"
    for methods in (("cwtc",), ("cwtc", "pckd")):
        plan = ExperimentPlan(
            trials=(Trial(seed=0, test_fold=0),), methods=methods, config=short, manifest_digest=toy.manifest.digest()
        )
        experiment.run(toy.manifest, plan, place)
        assert stored.exists() == ("pckd" in methods)
    assert (place.out / "seed0-fold0" / "pckd" / "predictions.npz").exists()
