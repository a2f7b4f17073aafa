"""Linear classifiers of all seeds at once: one set of weights a seed, one optimiser, the registry's own losses.

Each seed's loss depends on its own weights alone, and Adam works weight by weight, so that training them together is
training each by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from contract.decision import TaskKind
from recipes.synthetic_benchmark.draws import Array, Draw
from training.config import DistillationConfig
from training.distillation.method import CROSS_FITTED, Method, TeacherRole
from training.distillation.registry import METHODS
from training.distillation.row_weights import class_means
from training.distillation.task_batch import TaskBatch, TrainingContext
from training.evaluation.calibration import TEMPERATURE_BOUNDS

STEPS = 200
LEARNING_RATE = 0.05
RIDGE = 1e-3
"""Of the squared weights, in every teacher and student: without it separable rows have no best weights."""


@dataclass(frozen=True)
class Contender:
    """A method with its options, as a row of a table."""

    name: str
    method: str
    options: DistillationConfig


@dataclass(frozen=True)
class Soft:
    """A trained teacher's outputs: logits (S, N, 1) of the training rows, temperatures (S,), held-out scores."""

    logits: Tensor
    temperatures: Tensor
    held_out: Scores


@dataclass(frozen=True)
class Scores:
    """Over held-out rows, a seed each: share decided rightly, and mean log-loss in nats."""

    accuracy: Array
    log_loss: Array


def run_contender(draw: Draw, contender: Contender, teachers: dict[TeacherRole, Soft]) -> Scores:
    """Trains the contender's student on every seed and scores it on held-out rows.

    Args:
        draw: of S seeds.
        contender: whose method neither predicts privileged features nor compares features (a linear student has none).
        teachers: those trained already; one that is missing is trained and put in.

    Raises:
        ValueError: the method predicts privileged features or compares features.
    """
    method = METHODS[contender.method]
    if method.predicts_privileged or method.needs_features:
        raise ValueError(f"{method.name}: a linear student has no representation that anything else could shape")
    regular, labels = _tensor(draw.regular), _tensor(draw.labels)
    soft = None
    if method.reads_soft_targets:
        role: TeacherRole = "plain" if method.teacher == "plain_large" else method.teacher
        if role not in teachers:
            teachers[role] = train_teacher(draw, role)
        soft = teachers[role]
    both = torch.cat([regular, _tensor(draw.privileged)], dim=2) if method.teacher == "joint" else None
    weights = _train(method, contender.options, regular, labels, soft, both)
    return _scores(_logits(weights, _tensor(draw.test_regular)), draw.test_labels)


def train_teacher(draw: Draw, role: TeacherRole) -> Soft:
    """Trains a teacher on labels, calibrates it on validation rows, and reads what it is shown of the training rows.

    A cross-fitted one is two, each trained on every other row and read of the rows that it did not see. On those it is
    calibrated too, as shown; on held-out rows the logits of both are averaged.
    """
    shown = _inputs(role, draw.regular, draw.shown)
    tested = _inputs(role, draw.test_regular, draw.test_privileged)
    rows = np.arange(draw.labels.shape[1])
    if role in CROSS_FITTED:
        of_even, of_odd = (_train_on(draw, role, rows[unseen::2]) for unseen in (1, 0))
        even = torch.from_numpy(rows % 2 == 0)[None, :, None]
        logits = torch.where(even, _logits(of_even, shown), _logits(of_odd, shown))
        held_out = (_logits(of_even, tested) + _logits(of_odd, tested)) / 2
        judged, labels = logits, draw.labels
    else:
        weights = _train_on(draw, role, rows)
        logits, held_out = _logits(weights, shown), _logits(weights, tested)
        judged = _logits(weights, _inputs(role, draw.validation_regular, draw.validation_privileged))
        labels = draw.validation_labels
    temperatures = [_temperature(own, of_seed) for own, of_seed in zip(judged, _tensor(labels), strict=True)]
    return Soft(logits, torch.tensor(temperatures), _scores(held_out, draw.test_labels))


def _inputs(role: TeacherRole, regular: Array, privileged: Array) -> Tensor:
    alone: dict[TeacherRole, Array] = {"plain": regular, "plain_crossfit": regular, "privileged_only": privileged}
    return torch.cat([_tensor(part) for part in ((alone[role],) if role in alone else (regular, privileged))], dim=2)


def _train_on(draw: Draw, role: TeacherRole, rows: NDArray[np.int64]) -> Tensor:
    """Weights of a teacher of these rows, as ``_train``'s."""
    inputs = _inputs(role, draw.regular[:, rows], draw.privileged[:, rows])
    return _train(METHODS["ce"], DistillationConfig(), inputs, _tensor(draw.labels[:, rows]), None, None)


def loss_of_each_seed(
    method: Method,
    options: DistillationConfig,
    logits: Tensor,
    labels: Tensor,
    teacher: Tensor | None,
    temperatures: Tensor | None,
    means: Tensor | None,
    context: TrainingContext,
) -> Tensor:
    """(S,) the registry's loss, mapped over seeds. Logits are (S, N, 1), labels (S, N), class means (S, 2)."""

    def one(
        logits_NK: Tensor, targets: Tensor, teacher_NK: Tensor | None, temperature: Tensor | float, mean: Tensor | None
    ) -> Tensor:
        own = replace(context, class_means=mean)
        batch = TaskBatch(TaskKind.BINARY, logits_NK, targets, teacher_NK, temperature, own)
        return method(batch, options)

    given = (logits, labels, teacher, 1.0 if temperatures is None else temperatures, means)
    dims = tuple(0 if isinstance(value, Tensor) else None for value in given)
    losses: Tensor = torch.func.vmap(one, in_dims=dims, randomness="same")(*given)
    return losses


def _train(
    method: Method,
    options: DistillationConfig,
    inputs: Tensor,
    labels: Tensor,
    soft: Soft | None,
    teacher_inputs: Tensor | None,
) -> Tensor:
    """(S, D + 1) weights, the intercept last; with ``teacher_inputs`` a teacher of them learns beside the student."""
    weights = torch.zeros(inputs.shape[0], inputs.shape[2] + 1, requires_grad=True)
    trained = [weights]
    if teacher_inputs is not None:
        trained.append(torch.zeros(inputs.shape[0], teacher_inputs.shape[2] + 1, requires_grad=True))
    means = None if soft is None or not options.per_class_norm else _class_means(soft, labels, options)
    optimiser = torch.optim.Adam(trained, lr=LEARNING_RATE)
    for step in range(STEPS):
        teacher = None if soft is None else soft.logits
        if teacher_inputs is not None:
            teacher = _logits(trained[1], teacher_inputs)
        losses = loss_of_each_seed(
            method,
            options,
            _logits(weights, inputs),
            labels,
            teacher,
            None if soft is None else soft.temperatures,
            means,
            TrainingContext(epoch=step, step=step, total_steps=STEPS),
        )
        optimiser.zero_grad(set_to_none=True)
        ridge = torch.stack([(own[:, :-1] ** 2).sum() for own in trained]).sum()
        (losses.sum() + RIDGE * ridge).backward()
        optimiser.step()
    return weights.detach()


def _logits(weights: Tensor, inputs: Tensor) -> Tensor:
    return torch.einsum("snd,sd->sn", inputs, weights[:, :-1])[..., None] + weights[:, None, -1:]


def _class_means(soft: Soft, labels: Tensor, options: DistillationConfig) -> Tensor:
    rows = zip(soft.logits, labels, soft.temperatures, strict=True)
    return torch.stack([class_means(z, y, TaskKind.BINARY, float(t), options) for z, y, t in rows])


def _temperature(logits_N1: Tensor, labels_N: Tensor) -> float:
    """The temperature in [0.05, 20] that minimises the validation rows' cross-entropy (arXiv:1706.04599)."""

    def loss(log_temperature: float) -> float:
        return float(F.binary_cross_entropy_with_logits(logits_N1[:, 0] / np.exp(log_temperature), labels_N))

    return float(np.exp(minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURE_BOUNDS)), method="bounded").x))


def _scores(logits: Tensor, labels: Array) -> Scores:
    truth = _tensor(labels)
    right = ((logits[..., 0] > 0) == (truth > 0.5)).double().mean(dim=1)
    loss = F.binary_cross_entropy_with_logits(logits[..., 0], truth, reduction="none").mean(dim=1)
    return Scores(right.numpy(), loss.double().numpy())


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))
