"""Records the loss per step and per epoch, and the validation PR-AUC per epoch where it was asked for.

learning_curve.json
  steps    columns epoch (from 0), step (from 1, over all epochs), loss, lr
  epochs   columns epoch, loss (mean of its steps), val_pr_auc (task -> column; empty where not asked for)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.decision import TaskKind
from training.atomic_write import replace_text
from training.data.targets import TaskTargets, flag_targets
from training.evaluation.calibration import flag_scores
from training.evaluation.metrics import Scored, pr_auc

CURVE_FILE = "learning_curve.json"


@dataclass
class StepColumns:
    """One entry a step."""

    epoch: list[int] = field(default_factory=list)
    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)


@dataclass
class EpochColumns:
    """One entry an epoch."""

    epoch: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    val_pr_auc: dict[str, list[float | None]] = field(default_factory=dict)


@dataclass
class LearningCurve:
    """Losses and validation scores of one training so far."""

    steps: StepColumns = field(default_factory=StepColumns)
    epochs: EpochColumns = field(default_factory=EpochColumns)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> LearningCurve:
        """The curve that ``document`` describes."""
        return cls(StepColumns(**document["steps"]), EpochColumns(**document["epochs"]))

    def document(self) -> dict[str, Any]:
        """Plain lists, as the file holds them."""
        return asdict(self)

    def add_step(self, epoch: int, loss: float, lr: float) -> int:
        """Records a step that was done and returns its number, from 1."""
        columns = self.steps
        columns.epoch.append(epoch)
        columns.step.append(len(columns.step) + 1)
        columns.loss.append(loss)
        columns.lr.append(lr)
        return columns.step[-1]

    def end_epoch(self, epoch: int, scores: Mapping[str, float]) -> float:
        """Records an epoch that was done, with each task's validation PR-AUC; returns its mean loss."""
        steps = len(self.steps.epoch) - self.steps.epoch.index(epoch)
        self.epochs.epoch.append(epoch)
        self.epochs.loss.append(float(np.mean(self.steps.loss[-steps:])))
        for task, score in scores.items():
            column = self.epochs.val_pr_auc.setdefault(task, [None] * (len(self.epochs.epoch) - 1))
            column.append(float(score) if np.isfinite(score) else None)
        for column in self.epochs.val_pr_auc.values():
            column.extend([None] * (len(self.epochs.epoch) - len(column)))
        return self.epochs.loss[-1]

    def write(self, directory: Path) -> None:
        """Writes the file, the old or the new one being there whenever the process ends."""
        replace_text(directory / CURVE_FILE, json.dumps(self.document(), allow_nan=False) + "\n")


def read_curve(directory: Path) -> LearningCurve | None:
    """The curve beside a checkpoint; None where there is none, as with those of earlier versions."""
    path = directory / CURVE_FILE
    return LearningCurve.of(json.loads(path.read_text())) if path.exists() else None


def validation_pr_auc(
    logits: Mapping[str, NDArray[np.float32]], targets: Mapping[str, TaskTargets]
) -> dict[str, float]:
    """Task -> average precision of its flag on labelled rows (mean over a multilabel task's labels); NaN without any.

    Args:
        logits: task -> (N, K).
        targets: of the same rows.
    """
    scores = {}
    for name, one in targets.items():
        if not one.labelled.any():
            continue
        flag_score = flag_scores(logits[name][one.labelled], one.task, 1.0)
        positive = flag_targets(one)
        if one.task.kind is TaskKind.MULTILABEL:
            columns = [k for k, label in enumerate(one.task.labels) if label in one.task.flagged_by]
            areas = [_area(flag_score[:, k], positive[:, k]) for k in columns]
            known = [area for area in areas if np.isfinite(area)]
            scores[name] = float(np.mean(known)) if known else float("nan")
        else:
            scores[name] = _area(flag_score, positive)
    return scores


def _area(scores_N: NDArray[np.float64], positive_N: NDArray[np.bool_]) -> float:
    scored = Scored(np.asarray(scores_N, np.float64), np.zeros(len(scores_N), np.bool_), positive_N)
    return float(pr_auc(scored, np.ones((1, len(scores_N))))[0])
