"""Students of every kind of teacher: what is trained beside them, and what is left of it in the checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.unit.training.conftest import Toy
from training.config import DistillationConfig, RunConfig, read_config
from training.data.loading.epoch_batches import training_batches
from training.data.loading.row_set import with_privileged, with_soft_targets
from training.data.privileged import PrivilegedStatistics
from training.distillation.batch_loss import plan_loss
from training.distillation.registry import METHODS
from training.experiment.plan import DEFAULT_METHODS, ExperimentPlan, Trial
from training.fitting.checkpoint import read_checkpoint
from training.fitting.fit import fit
from training.fitting.predict import forward
from training.models.build import build_model
from training.models.companions import JointPair, PrivilegedPredictor
from training.models.df_xvlm import PrivilegedOnly
from training.models.xvlm import XVLM
from training.teachers.trial_teachers import Teachers


@pytest.fixture(scope="module")
def statistics(toy: Toy) -> PrivilegedStatistics:
    return PrivilegedStatistics.fit(toy.parts["train"].rows, toy.manifest.privileged_groups)


@pytest.fixture
def short(tiny_config: RunConfig) -> RunConfig:
    """One epoch."""
    return tiny_config.model_copy(update={"optimiser": tiny_config.optimiser.model_copy(update={"epochs": 1})})


@pytest.fixture
def teachers(toy: Toy, short: RunConfig, statistics: PrivilegedStatistics, tmp_path: Path) -> Teachers:
    return Teachers(tmp_path, toy.data, short, statistics, 0)


def test_a_teacher_of_privileged_features_alone_reads_nothing_else(toy: Toy, teachers: Teachers) -> None:
    taught = teachers.get("privileged_only")
    model, card = read_checkpoint(teachers.home / "teacher_privileged_only")
    assert isinstance(model, PrivilegedOnly)
    assert card.role == "privileged_only_teacher"
    assert set(taught.soft_targets) == {task.name for task in toy.manifest.tasks}
    batch = with_privileged(toy.parts["train"], teachers.statistics).build([(0, None), (1, None)])
    other = replace(batch, inputs={name: torch.zeros_like(value) for name, value in batch.inputs.items()})
    with torch.no_grad():
        assert torch.equal(forward(model, batch)["shape"], forward(model, other)["shape"])
        assert not torch.equal(*forward(model, batch)["shape"])


def test_a_plain_teacher_has_no_privileged_input_and_other_weights_than_the_baseline(
    toy: Toy, teachers: Teachers, short: RunConfig
) -> None:
    taught = teachers.get("plain")
    assert taught.card.privileged is None
    assert taught.card.role == "plain_teacher"
    baseline = fit(teachers.home / "ce", toy.data, short, method="ce", seed=0)
    assert baseline.weights_digest != taught.card.weights_digest
    assert teachers.get("plain_large") is taught
    assert sorted(path.name for path in teachers.home.iterdir()) == ["ce", "soft_targets_plain", "teacher_plain"]


def test_vanilla_kd_has_a_larger_teacher_where_one_is_configured(teachers: Teachers, short: RunConfig) -> None:
    text = short.model.text.model_copy(update={"hidden_size": 64})
    teachers.config = short.model_copy(update={"kd_teacher": short.model.model_copy(update={"text": text})})
    card = teachers.get("plain_large").card
    assert card.config.model.text.hidden_size == 64
    with pytest.raises(ValueError, match="joint"):
        teachers.get("joint")


@pytest.mark.parametrize("method", ["pfd_joint", "mtl"])
def test_what_is_trained_beside_the_student_is_not_in_its_checkpoint(
    toy: Toy, short: RunConfig, statistics: PrivilegedStatistics, tmp_path: Path, method: str
) -> None:
    card = fit(tmp_path / method, toy.data, short, method=method, seed=0, statistics=statistics, role="student")
    fit(tmp_path / "ce", toy.data, short, method="ce", seed=0)
    model, _ = read_checkpoint(tmp_path / method)
    baseline, _ = read_checkpoint(tmp_path / "ce")
    assert isinstance(model, XVLM)
    assert card.privileged is None
    assert set(model.state_dict()) == set(baseline.state_dict())
    assert not torch.equal(model.state_dict()["no_text"], baseline.state_dict()["no_text"])
    with pytest.raises(ValueError, match="needs privileged features"):
        fit(tmp_path / "without", toy.data, short, method=method, seed=0)


@pytest.mark.parametrize("method", ["pfd_joint", "mtl"])
def test_the_batch_loss_reaches_what_is_trained_beside_the_student(
    toy: Toy, short: RunConfig, statistics: PrivilegedStatistics, method: str
) -> None:
    tasks, rows = toy.manifest.tasks, with_privileged(toy.parts["train"], statistics)
    student = build_model(short, tasks, None)
    beside = (
        JointPair(student, build_model(short, tasks, statistics))
        if METHODS[method].teacher == "joint"
        else PrivilegedPredictor(student, statistics.widths, short.model.text.hidden_size)
    )
    plan = plan_loss(method, short, None, rows, 0, 10)
    batch = next(training_batches(rows, short.optimiser, 0, 0))
    plan.epoch(0, 10)(batch, forward(beside, batch), 0).backward()
    part = beside.teacher.encoders if isinstance(beside, JointPair) else beside.predictors
    assert sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None) > 0


def test_class_means_come_from_all_training_rows(toy: Toy, short: RunConfig, teachers: Teachers) -> None:
    taught = teachers.get("privileged")
    rows = with_soft_targets(toy.parts["train"], taught.soft_targets)
    config = short.model_copy(update={"distillation": DistillationConfig(per_class_norm=True)})
    means = plan_loss("cpfd", config, taught.card, rows, 0, 10).class_means
    assert {name: tuple(value.shape) for name, value in means.items()} == {
        "direction": (2,),
        "shape": (3,),
        "topics": (3, 2),
    }
    assert plan_loss("cpfd", short, taught.card, rows, 0, 10).class_means == {}
    data = replace(toy.data, train=rows)
    one, other = (
        fit(teachers.home / name, data, chosen, method="cpfd", seed=0, teacher=taught.card)
        for name, chosen in (("normed", config), ("plain_cpfd", short))
    )
    assert one.losses != other.losses


def test_the_context_counts_steps_over_epochs(toy: Toy, short: RunConfig) -> None:
    seen: list[tuple[int, int, int]] = []
    rows = toy.parts["train"]

    def loss(batch: object, config: object) -> torch.Tensor:
        seen.append((batch.context.epoch, batch.context.step, batch.context.seed))  # type: ignore[attr-defined]
        return torch.zeros(())

    plan = replace(plan_loss("ce", short, None, rows, 7, 30), method=replace(METHODS["ce"], loss=loss))
    batch = rows.build([(0, None)])
    logits = {task.name: torch.zeros(1, task.logits_width) for task in toy.manifest.tasks}
    plan.epoch(2, 10)(batch, logits, 3)
    assert set(seen) == {(2, 23, 7)}


def test_default_methods_are_named_and_unknown_ones_refused(tiny_config: RunConfig) -> None:
    plan = ExperimentPlan(trials=(Trial(seed=0),), config=tiny_config, manifest_digest="d")
    assert plan.methods == DEFAULT_METHODS == ("ce", "pfd", "cpfd")
    for methods, fault in ((("ce", "nonsense"), "nonsense"), (("ce", "ce"), "twice")):
        with pytest.raises(ValueError, match=fault):
            ExperimentPlan(trials=(Trial(seed=0),), methods=methods, config=tiny_config, manifest_digest="d")


def test_older_documents_keep_their_digests(tiny_config: RunConfig) -> None:
    """Soft targets name the digest of their teacher's card: fields that came later must not change it."""
    assert DistillationConfig().model_dump() == {
        "lam": 0.5,
        "temperature": 2.0,
        "confidence": "true_prob",
        "weighting": "scale",
    }
    changed = DistillationConfig(gamma=2.0)
    assert DistillationConfig.model_validate(changed.model_dump()) == changed
    assert changed.digest() != DistillationConfig().digest()
    assert "kd_teacher" not in tiny_config.model_dump()
    large = tiny_config.model_copy(update={"kd_teacher": tiny_config.model})
    assert RunConfig.model_validate(large.model_dump()) == large


def test_the_committed_preset_keeps_its_reading() -> None:
    config = read_config(Path(__file__).resolve().parents[4] / "configs" / "micro.yaml")
    assert config.distillation == DistillationConfig()


@pytest.mark.parametrize(("field", "value"), [("max_positions", 8), ("vocab_size", 100)])
def test_a_larger_teacher_must_fit_the_inputs(tiny_config: RunConfig, field: str, value: int) -> None:
    text = tiny_config.model.text.model_copy(update={field: value})
    teacher = tiny_config.model.model_copy(update={"text": text})
    with pytest.raises(ValueError, match=rf"kd_teacher.*text\.{field}"):
        RunConfig.model_validate(tiny_config.model_dump() | {"kd_teacher": teacher.model_dump()})
