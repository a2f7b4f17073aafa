"""What the report's figures draw, read from a run folder: scores, operating points, bins, confidences, losses.

Files that may be missing (a control that does not apply, cross-fitted soft targets, a finer learning curve) leave
their series out; a method counts only where every trial has its scores.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from contract.decision import TaskKind, TaskSpec
from training.data.manifest import Row
from training.data.targets import flag_columns, flag_targets, task_targets
from training.distillation.confidence import teacher_confidence
from training.evaluation.calibration import flag_scores
from training.experiment.plan import ExperimentPlan
from training.experiment.predictions import PREDICTIONS_FILE, labelled_logits
from training.fitting.checkpoint import CARD_FILE, read_card, read_policy
from training.teachers.soft_targets import SOFT_TARGETS_FILE

Array = NDArray[np.float64]
RECALLS: Final[Array] = np.linspace(0, 1, 201)[1:]
"""Recalls at which precision is read off, so that trials can be averaged."""
RELIABILITY_BINS = 10
LEARNING_CURVE_FILE = "learning_curve.json"
"""Beside a checkpoint, optional: columns of ``steps``, of which ``epoch`` (from 0) and ``loss`` are read here."""
_CURVE_POINTS = 60
_CROSS_FITTED = "soft_targets_privileged_crossfit"


@dataclass(frozen=True)
class HeldOut:
    """One method's held-out rows of one task in one trial; a multilabel row counts once for each label.

    Attributes:
        scores: (N,) calibrated probability that the row should be flagged.
        raw: (N,) the same before the temperature; None for a control, which has none.
        positive: (N,) bool: whether it should be.
    """

    scores: Array
    raw: Array | None
    positive: NDArray[np.bool_]


@dataclass(frozen=True)
class PrecisionRecall:
    """(G,) precision at ``RECALLS``: mean, least and greatest over trials."""

    mean: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Reliability:
    """(B,) bins of equal mass: mean score, share of positives with its 95 % Wilson interval, rows."""

    score: Array
    share: Array
    low: Array
    high: Array
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class LossCurve:
    """Epochs done and mean training loss, of one method in one trial."""

    epochs: Array
    losses: Array


def read_held_out(
    runs: Path, plan: ExperimentPlan, task: TaskSpec, rows: Mapping[str, Row], methods: Iterable[str]
) -> dict[str, list[HeldOut]]:
    """Method or control -> one entry a trial, of those whose scores every trial has stored."""
    table: dict[str, list[HeldOut]] = {}
    for method in methods:
        entries = [_held_out(runs / trial.name, method, task, rows) for trial in plan.trials]
        stored = [one for one in entries if one is not None]
        if len(stored) == len(entries):
            table[method] = stored
    return table


def _held_out(home: Path, method: str, task: TaskSpec, rows: Mapping[str, Row]) -> HeldOut | None:
    path = home / method / PREDICTIONS_FILE
    if path.exists() and (home / method / CARD_FILE).exists():
        kept, logits_NK = labelled_logits(path, task, rows)
        temperature = read_policy(home / method).tasks[task.name].temperature
        scores, raw = flag_scores(logits_NK, task, temperature), flag_scores(logits_NK, task, 1.0)
        positive = flag_targets(task_targets(kept, task))
        return HeldOut(*(flag_columns(values, task).ravel() for values in (scores, raw, positive)))
    path = home / "controls" / f"{method}-{task.name}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as arrays:
            kept = [rows[str(i)] for i in arrays["row_ids"]]
            positive = flag_columns(flag_targets(task_targets(kept, task)), task)
            return HeldOut(flag_columns(arrays["scores"], task).ravel(), None, positive.ravel())
    return None


def precision_recall(trials: Sequence[HeldOut]) -> PrecisionRecall | None:
    """Precision at fixed recalls, averaged over the trials that hold a positive; None where none does.

    The curve is the step function under which average precision is the area, so the area under the mean curve is
    the mean PR-AUC.
    """
    curves = [_precision_at_recalls(t.scores, t.positive) for t in trials if t.positive.any()]
    if not curves:
        return None
    stacked = np.stack(curves)
    return PrecisionRecall(stacked.mean(axis=0), stacked.min(axis=0), stacked.max(axis=0))


def _precision_at_recalls(scores: Array, positive: NDArray[np.bool_]) -> Array:
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.diff(scores[order]) < 0, True)
    hits = np.cumsum(positive[order])[ends]
    called = np.flatnonzero(ends) + 1
    first = np.searchsorted(hits / positive.sum(), RECALLS - 1e-9)
    return np.asarray(hits / called)[first]


def reliability(scores: Array, positive: NDArray[np.bool_]) -> Reliability:
    """Scores (N,) in at most ten bins of equal mass, as the ECE of ``training.evaluation.metrics`` has them."""
    edges = np.quantile(scores, np.linspace(0, 1, RELIABILITY_BINS + 1)[1:-1])
    bins = np.searchsorted(edges, scores, side="right")
    used = np.unique(bins)
    counts = np.asarray([(bins == b).sum() for b in used])
    score = np.asarray([scores[bins == b].mean() for b in used])
    share = np.asarray([positive[bins == b].mean() for b in used])
    low, high = _wilson(share, counts)
    return Reliability(score, share, low, high, counts)


def _wilson(share: Array, counts: NDArray[np.int64]) -> tuple[Array, Array]:
    """(low, high) of the 95 % Wilson interval; statsmodels has it, but brings pandas and patsy for these lines."""
    z = 1.96
    centre = (share + z**2 / (2 * counts)) / (1 + z**2 / counts)
    half = z * np.sqrt(share * (1 - share) / counts + z**2 / (4 * counts**2)) / (1 + z**2 / counts)
    return centre - half, centre + half


def pooled(trials: Sequence[HeldOut], *, raw: bool = False) -> tuple[Array, NDArray[np.bool_]] | None:
    """Scores and truth of all trials' rows together; None where the scores asked for are not there."""
    scores = [t.raw if raw else t.scores for t in trials]
    stored = [s for s in scores if s is not None]
    if len(stored) < len(trials):
        return None
    return np.concatenate(stored), np.concatenate([t.positive for t in trials])


def teacher_confidences(runs: Path, plan: ExperimentPlan, task: TaskSpec, rows: Mapping[str, Row]) -> dict[str, Array]:
    """``train``, ``cross_fitted``, ``held_out`` -> the teacher's c_i over all trials' rows, of what is stored.

    ``train`` is what a student is distilled with; ``cross_fitted`` the same from teachers that did not see the row.
    """
    confidences: dict[str, list[Array]] = {"train": [], "cross_fitted": [], "held_out": []}
    name = plan.config.distillation.confidence
    for trial in plan.trials:
        home = runs / trial.name
        if not (home / "teacher" / CARD_FILE).exists():
            continue
        own = read_card(home / "teacher").policy.tasks[task.name].temperature
        sources = [("train", home / "soft_targets" / SOFT_TARGETS_FILE)]
        sources += [("cross_fitted", home / _CROSS_FITTED / SOFT_TARGETS_FILE)]
        sources += [("held_out", home / "teacher" / PREDICTIONS_FILE)]
        for kind, path in sources:
            if path.exists():
                temperature = _header(path).get("cross_fit", {}).get("temperatures", {}).get(task.name, own)
                confidences[kind].append(_confidence(path, task, rows, name, temperature))
    return {kind: np.concatenate(parts) for kind, parts in confidences.items() if sum(map(len, parts))}


def _confidence(path: Path, task: TaskSpec, rows: Mapping[str, Row], name: str, temperature: float) -> Array:
    kept, logits_NK = labelled_logits(path, task, rows)
    values = torch.from_numpy(task_targets(kept, task).values)
    if task.kind is TaskKind.BINARY:
        values = values.reshape(-1)
    c = teacher_confidence(name, torch.from_numpy(logits_NK), values, task.kind, temperature)
    return np.asarray(c.double().numpy().ravel())


def _header(path: Path) -> dict[str, Any]:
    """The document that soft targets carry about their teacher; empty for predictions."""
    with np.load(path, allow_pickle=False) as arrays:
        return dict(json.loads(arrays["header"].tobytes())) if "header" in arrays else {}


def learning_curves(runs: Path, plan: ExperimentPlan, methods: Iterable[str]) -> dict[str, list[LossCurve]]:
    """Method -> one curve for each trial that has a checkpoint of it."""
    curves: dict[str, list[LossCurve]] = {}
    for method in methods:
        for trial in plan.trials:
            directory = runs / trial.name / method
            if (directory / CARD_FILE).exists():
                curves.setdefault(method, []).append(_learning_curve(directory))
    return curves


def _learning_curve(directory: Path) -> LossCurve:
    path = directory / LEARNING_CURVE_FILE
    steps = json.loads(path.read_text()).get("steps", {}) if path.exists() else {}
    losses = np.asarray(steps.get("loss", ()), np.float64)
    if len(losses):
        blocks = np.array_split(np.arange(len(losses)), min(_CURVE_POINTS, len(losses)))
        per_epoch = len(losses) / (max(steps["epoch"]) + 1)
        done = np.asarray([(block[-1] + 1) / per_epoch for block in blocks])
        return LossCurve(done, np.asarray([losses[block].mean() for block in blocks]))
    losses = np.asarray(read_card(directory).losses, np.float64)
    return LossCurve(np.arange(1.0, len(losses) + 1), losses)
