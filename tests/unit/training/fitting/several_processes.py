"""What each process of ``test_several_processes`` runs: a few trainings of the toy data, whose curves are stored."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tests.unit.training.conftest import Toy
from training.config import DistillationConfig, RunConfig
from training.data.loading.row_set import with_soft_targets
from training.data.privileged import PrivilegedStatistics
from training.distillation.registry import METHODS
from training.fitting.fit import FitData, fit
from training.fitting.learning_curve import LearningCurve, read_curve
from training.fitting.operation import PLAIN_OPERATION, Operation
from training.fitting.processes import close, world

PLAIN = DistillationConfig()


@dataclass(frozen=True)
class Case:
    """One training to compare.

    Attributes:
        name: of its folder.
        method: of the registry.
        distillation: its options.
        parts: ``accumulation_steps``.
        video_batch: of the optimiser's options.
        operation: how it is run.
    """

    name: str
    method: str
    distillation: DistillationConfig = PLAIN
    parts: int = 1
    video_batch: int = 8
    operation: Operation = PLAIN_OPERATION


CASES = (
    Case("ce", "ce"),
    Case("cpfd", "cpfd"),
    Case("norm", "cpfd", DistillationConfig(weighting="norm")),
    Case("preview", "pckd_preview"),
    Case("lonely_row", "cpfd", video_batch=1),  # one process has no row of a clip's batch
    Case("parts", "cpfd", DistillationConfig(weighting="norm"), parts=3),
    Case("checkpointed", "ce", operation=Operation(gradient_checkpointing=True, validate_epochs=True)),
)


def assert_same_weights(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Each tensor as a whole is the same but for rounding.

    Not each element: Adam divides a gradient by its own size, so one that is next to nothing moves its weight by
    whatever the rounding of the sum left of it.
    """
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        distance = torch.linalg.vector_norm(found[name] - tensor) / max(1e-3, torch.linalg.vector_norm(tensor))
        assert distance < 1e-3, f"{name}: {distance:.1e} of its length away"


def without_dropout(config: RunConfig) -> RunConfig:
    """One epoch, no dropout: processes draw their own."""
    model = config.model.model_copy(update={"text": config.model.text.model_copy(update={"dropout": 0.0})})
    optimiser = config.optimiser.model_copy(update={"epochs": 1})
    teacher = config.teacher.model_copy(update={"dropout": 0.0})
    return config.model_copy(update={"model": model, "optimiser": optimiser, "teacher": teacher})


def soft_targets(toy: Toy) -> dict[str, torch.Tensor]:
    """Logits of a teacher that is mostly right, with much noise."""
    generator = torch.Generator().manual_seed(0)
    train = toy.parts["train"]
    return {t.name: 2 * torch.randn(len(train.rows), t.logits_width, generator=generator) for t in toy.manifest.tasks}


def train(directory: Path, toy: Toy, config: RunConfig, case: Case) -> tuple[LearningCurve, dict[str, torch.Tensor]]:
    """The case's curve and weights."""
    method = METHODS[case.method]
    data: FitData = toy.data
    if method.reads_soft_targets:
        soft = {name: value.numpy() for name, value in soft_targets(toy).items()}
        data = replace(data, train=with_soft_targets(data.train, soft))
    needs = method.teacher == "joint" or method.predicts_privileged
    statistics = PrivilegedStatistics.fit(data.train.rows, toy.manifest.privileged_groups) if needs else None
    options = config.optimiser.model_copy(update={"accumulation_steps": case.parts, "video_batch": case.video_batch})
    chosen = without_dropout(config.model_copy(update={"optimiser": options, "distillation": case.distillation}))
    home = directory / case.name
    fit(home, data, chosen, method=case.method, seed=5, statistics=statistics, role="student", operation=case.operation)
    curve = read_curve(home)
    assert curve is not None
    return curve, torch.load(home / "weights.pt", weights_only=True)


def work(rank: int, directory: Path, toy: Toy, config: RunConfig, port: int) -> None:
    """Every case, as one of two processes. Spawned."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    if torch.accelerator.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    torch.set_num_threads(1)
    assert world().num_processes == 2
    for case in CASES:
        train(directory, toy, config, case)
    close()
