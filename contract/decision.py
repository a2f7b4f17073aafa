"""Logits -> calibrated scores -> verdict, under a policy that the bundle carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from contract.frozen import FrozenDocument, GrowingDocument


class TaskKind(StrEnum):
    BINARY = "binary"
    MULTICLASS = "multiclass"
    MULTILABEL = "multilabel"


class Modality(StrEnum):
    VIDEO = "video"
    TEXT = "text"


class TaskSpec(FrozenDocument):
    """One question a model answers.

    ``binary`` has two labels (negative, positive) and one logit; ``multiclass`` and ``multilabel`` have one
    logit for each label.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    kind: TaskKind
    labels: tuple[str, ...] = Field(min_length=1)
    flag_labels: tuple[str, ...] = ()
    """The labels that raise the flag. Empty: the positive of a binary task, every label of a multilabel one."""
    modalities: tuple[Modality, ...] = (Modality.VIDEO, Modality.TEXT)
    """What the task's training examples held. A request with none of these is answered, but marked unsupported."""

    @model_validator(mode="after")
    def _labels_fit(self) -> TaskSpec:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"task {self.name}: labels must differ")
        if self.kind is TaskKind.BINARY and len(self.labels) != 2:
            raise ValueError(f"task {self.name}: a binary task has two labels, negative first")
        if self.kind is TaskKind.MULTICLASS and (len(self.labels) < 2 or not self.flag_labels):
            raise ValueError(f"task {self.name}: a multiclass task needs two or more labels and says which it flags")
        if self.kind is TaskKind.BINARY and self.flag_labels not in ((), self.labels[1:]):
            raise ValueError(f"task {self.name}: a binary task flags its second label")
        if not set(self.flag_labels) <= set(self.labels) or not self.modalities:
            raise ValueError(f"task {self.name}: flag_labels must be labels; modalities must not be empty")
        return self

    @property
    def logits_width(self) -> int:
        """K: 1 for a binary task, else the number of labels."""
        return 1 if self.kind is TaskKind.BINARY else len(self.labels)

    @property
    def flagged_by(self) -> tuple[str, ...]:
        """The labels that can raise the flag."""
        if self.flag_labels:
            return self.flag_labels
        return self.labels[1:] if self.kind is TaskKind.BINARY else self.labels

    @property
    def output_name(self) -> str:
        """The ONNX graph's output: (B, K) float32 logits."""
        return f"logits_{self.name}"

    @property
    def evidence_name(self) -> str:
        """The ONNX graph's output, where there is one: (B, M, K) float32, each moment's share of the logits."""
        return f"evidence_{self.name}"


PointKind = Literal["max_f1", "recall_at_precision", "precision_at_recall", "cost_ratio", "review_budget"]
POINT_KINDS: Final[tuple[PointKind, ...]] = get_args(PointKind)


class OperatingPoint(FrozenDocument):
    """What a task's threshold is chosen for, on validation rows.

    max_f1                the highest F1
    recall_at_precision   the highest recall among thresholds that reach the precision ``value``
    precision_at_recall   the highest precision among thresholds that reach the recall ``value``
    cost_ratio            the least expected cost, where a miss costs ``value`` times as much as a false alarm
    review_budget         the share ``value`` of rows is flagged, or as much less as ties demand
    """

    kind: PointKind = "max_f1"
    value: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _value_fits(self) -> OperatingPoint:
        if (self.kind == "max_f1") != (self.value is None):
            wrong = "needs a value" if self.value is None else "has no value"
            raise ValueError(f"operating point {self.kind}: {wrong}")
        if self.kind != "cost_ratio" and self.value is not None and self.value > 1:
            raise ValueError(f"operating point {self.kind}: value is a share, at most 1")
        return self

    def __str__(self) -> str:
        return self.kind if self.value is None else f"{self.kind} {self.value:g}"


class TaskPolicy(GrowingDocument):
    """How one task's logits are read."""

    first_fields: ClassVar = frozenset({"temperature", "thresholds"})
    temperature: float = Field(default=1.0, gt=0)
    """Logits are divided by it (temperature scaling, arXiv:1706.04599)."""
    thresholds: dict[str, float]
    """Binary and multiclass: one entry, ``flag``. Multilabel: one entry for each label that can raise the flag."""
    point: OperatingPoint = OperatingPoint()
    """What the thresholds were chosen for."""
    unserved: str | None = None
    """Why this task's verdict is not served, if it is not: a model that learnt nothing of it must not decide it."""

    @model_validator(mode="after")
    def _in_range(self) -> TaskPolicy:
        if any(not 0 <= t <= 1 for t in self.thresholds.values()):
            raise ValueError("thresholds are probabilities in [0, 1]")
        return self


class DecisionPolicy(FrozenDocument):
    """The policy of every task of a bundle, by task name."""

    tasks: dict[str, TaskPolicy]

    def check(self, tasks: tuple[TaskSpec, ...]) -> None:
        """Raises ValueError unless there is exactly one fitting policy for each task."""
        if set(self.tasks) != {t.name for t in tasks}:
            raise ValueError("the decision policy and the task list name different tasks")
        for task in tasks:
            want = set(task.flagged_by) if task.kind is TaskKind.MULTILABEL else {"flag"}
            if set(self.tasks[task.name].thresholds) != want:
                raise ValueError(f"task {task.name}: thresholds must be {sorted(want)}")


@dataclass(frozen=True)
class TaskDecision:
    """One task's answer.

    Attributes:
        scores: label -> calibrated probability in [0, 1]. They add up to 1 except in a multilabel task.
        label: the label decided on: of a binary task by the threshold, else the likeliest one.
        flag_score: the probability compared with ``threshold``: summed over the flag labels of a multiclass
            task, the one nearest above (or least below) its own threshold of a multilabel task.
        threshold: what ``flag_score`` is compared with.
        flagged: whether a moderator should see it. Never true where ``supported`` is false.
        flagged_labels: which labels raised the flag: the likeliest flag label of a multiclass task, all that
            are over their thresholds of a multilabel one.
        supported: whether the request held any modality that the task was trained on, and the task is served.
        unsupported_because: why not; None where it is supported.
    """

    scores: dict[str, float]
    label: str
    flag_score: float
    threshold: float
    flagged: bool
    flagged_labels: tuple[str, ...]
    supported: bool
    unsupported_because: str | None = None


def probabilities(logits_BK: NDArray[Any], kind: TaskKind, temperature: float = 1.0) -> NDArray[np.float64]:
    """Calibrated probabilities (B, K): sigmoid for binary and multilabel tasks, softmax for multiclass ones."""
    logits_BK = np.asarray(logits_BK, np.float64)
    # A tiny temperature may divide to infinity, which tanh and exp take; the maximum goes first: no inf - inf.
    with np.errstate(over="ignore"):
        if kind is TaskKind.MULTICLASS:
            shifted_BK = np.exp((logits_BK - logits_BK.max(axis=-1, keepdims=True)) / temperature)
            return np.asarray(shifted_BK / shifted_BK.sum(axis=-1, keepdims=True))
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * (logits_BK / temperature))))


def decide_task(
    logits_K: NDArray[Any], task: TaskSpec, policy: TaskPolicy, modalities: frozenset[Modality]
) -> TaskDecision:
    """The decision for one example's logits (K,) of one task.

    Raises:
        ValueError: the logits have another width than the task, or are not finite.
    """
    logits_K = np.asarray(logits_K, np.float64)
    if logits_K.shape != (task.logits_width,) or not np.isfinite(logits_K).all():
        raise ValueError(f"task {task.name}: expected {task.logits_width} finite logits")
    p_K = probabilities(logits_K[None], task.kind, policy.temperature)[0]
    if task.kind is TaskKind.BINARY:
        p_K = np.asarray([1.0 - p_K[0], p_K[0]])
    scores = {label: float(p) for label, p in zip(task.labels, p_K, strict=True)}
    reason = policy.unserved
    if reason is None and not modalities & set(task.modalities):
        reason = f"the request holds no {' and no '.join(m.value for m in task.modalities)}"
    supported = reason is None
    if task.kind is TaskKind.MULTILABEL:
        margins = {name: scores[name] - policy.thresholds[name] for name in task.flagged_by}
        nearest = max(margins, key=lambda name: margins[name])
        flag_score, threshold = scores[nearest], policy.thresholds[nearest]
        over = tuple(name for name, margin in margins.items() if margin >= 0)
    else:
        # Rounding may carry a sum of probabilities past 1.
        flag_score = min(1.0, sum(scores[name] for name in task.flagged_by))
        threshold = policy.thresholds["flag"]
        likeliest = max(task.flagged_by, key=lambda name: scores[name])
        over = (likeliest,) if flag_score >= threshold else ()
    if task.kind is TaskKind.BINARY:
        label = task.labels[int(flag_score >= threshold)]
    else:
        label = max(scores, key=lambda name: scores[name])
    flagged = bool(over) and supported
    return TaskDecision(scores, label, flag_score, threshold, flagged, over if flagged else (), supported, reason)


def decide(
    logits: Mapping[str, NDArray[Any]],
    tasks: tuple[TaskSpec, ...],
    policy: DecisionPolicy,
    modalities: frozenset[Modality],
) -> dict[str, TaskDecision]:
    """Every task's decision for one example.

    Args:
        logits: task name -> (K,) logits.
        tasks: the bundle's tasks.
        policy: the bundle's policy, already checked against ``tasks``.
        modalities: what was read of this example.
    """
    return {t.name: decide_task(logits[t.name], t, policy.tasks[t.name], modalities) for t in tasks}
