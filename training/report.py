"""What an experiment found: every method beside its controls, with intervals, as JSON and as a Markdown table.

The estimate of a metric is its mean over trials, each on its own held-out rows. The interval is a bootstrap over
groups (source videos, backgrounds, channels): a replicate draws groups once and applies the draw to every trial and
method, so that differences between methods are paired.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.decision import TaskKind, TaskSpec
from training.calibrate import flag_scores
from training.checkpoint import read_card
from training.confidence_record import CONFIDENCE_FILE
from training.control_predictions import CONTROLS, read_control
from training.experiment import EXPERIMENT_FILE, PREDICTIONS_FILE, ExperimentPlan
from training.manifest import Manifest, Row
from training.metrics import METRICS, Array, Scored, group_weights
from training.paired import read_paired
from training.targets import flag_targets, task_targets

REPLICATES = 1000
_LEVEL = (2.5, 97.5)
BASELINE, TEACHER = "ce", "teacher"
TITLES = {
    TEACHER: "DF-X-VLM teacher (reads privileged features)",
    "ce": "X-VLM baseline",
    "pfd": "PFD student",
    "cpfd": "CPFD student",
    "container_only": "control: container facts alone",
    "background_only": "control: background alone",
}


@dataclass(frozen=True)
class TrialScores:
    """One method's scored test rows in one trial, for one task."""

    scored: Scored
    rows: list[Row]


Table = dict[str, list[TrialScores]]
"""Method -> one entry for each trial."""


def build_report(out: Path, manifest: Manifest, *, replicates: int = REPLICATES, seed: int = 0) -> dict[str, Any]:
    """The report of a finished experiment.

    Args:
        out: the experiment's folder.
        manifest: the one it was run on.
        replicates: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        FileNotFoundError: a trial is not finished; the message names the file.
        ValueError: the experiment was run on another manifest.
    """
    plan = ExperimentPlan.model_validate_json((out / EXPERIMENT_FILE).read_bytes())
    if plan.manifest_digest != manifest.digest():
        raise ValueError(f"{out / EXPERIMENT_FILE}: run on another manifest")
    rows = {row.id: row for row in manifest.rows}
    tasks = {}
    for task in manifest.tasks:
        table = _table(out, plan, task, rows)
        weights = group_weights([r.group for trial in table[TEACHER] for r in trial.rows], replicates, seed)
        tasks[task.name] = _task_report(task, table, weights)
        tasks[task.name]["paired"] = _paired_report(out, plan, task, rows, weights)
    return {
        "manifest": {"name": manifest.name, "digest": plan.manifest_digest, "rows": len(manifest.rows)},
        "config_digest": plan.config.digest(),
        "model": plan.config.model.name,
        "trials": [trial.model_dump() for trial in plan.trials],
        "methods": [TEACHER, *plan.methods],
        "bootstrap": {"replicates": replicates, "seed": seed, "unit": "group", "level": 95},
        "tasks": tasks,
        "teacher_confidence": _confidence(out, plan),
    }


def _table(out: Path, plan: ExperimentPlan, task: TaskSpec, rows: Mapping[str, Row]) -> Table:
    table: Table = {
        method: [_method_scores(out / trial.name / method, task, rows) for trial in plan.trials]
        for method in (TEACHER, *plan.methods)
    }
    for control in CONTROLS:
        found = [read_control(out / trial.name / "controls", control, task.name) for trial in plan.trials]
        stored = [entry for entry in found if entry is not None]
        if len(stored) == len(plan.trials):
            table[control] = [_scored(task, [rows[i] for i in ids], s, s >= cut) for ids, s, cut in stored]
    return table


def _method_scores(directory: Path, task: TaskSpec, rows: Mapping[str, Row]) -> TrialScores:
    with np.load(directory / PREDICTIONS_FILE, allow_pickle=False) as arrays:
        found = [rows[str(i)] for i in arrays["row_ids"]]
        labelled = np.asarray([task.name in row.labels for row in found])
        logits_NK = arrays[task.output_name][labelled]
    kept = [row for row, use in zip(found, labelled, strict=True) if use]
    return _decided(directory, task, kept, logits_NK)


def _decided(directory: Path, task: TaskSpec, kept: list[Row], logits_NK: NDArray[np.float32]) -> TrialScores:
    """The rows as the checkpoint's own policy decides them."""
    policy = read_card(directory).policy.tasks[task.name]
    scores = flag_scores(logits_NK, task, policy.temperature)
    if task.kind is TaskKind.MULTILABEL:
        cuts = np.asarray([policy.thresholds.get(label, np.inf) for label in task.labels])
    else:
        cuts = np.asarray(policy.thresholds["flag"])
    return _scored(task, kept, scores, scores >= cuts)


def _paired_report(
    out: Path, plan: ExperimentPlan, task: TaskSpec, rows: Mapping[str, Row], weights: Mapping[str, Array]
) -> dict[str, Any]:
    """Method -> F1 and PR-AUC where each row shares its request with an unrelated one of the other modality."""
    labelled = {row_id for row_id, row in rows.items() if task.name in row.labels}
    report = {}
    for method in (TEACHER, *plan.methods):
        trials = []
        for trial in plan.trials:
            directory = out / trial.name / method
            found = read_paired(directory, task.output_name, labelled)
            if found is not None:
                trials.append(_decided(directory, task, [rows[i] for i in found[0]], found[1]))
        if len(trials) == len(plan.trials):
            samples = _samples(trials, weights)
            report[method] = _summary({metric: samples[metric] for metric in ("f1", "pr_auc")})
    return report


def _scored(task: TaskSpec, rows: list[Row], scores: Array, flagged: NDArray[np.bool_]) -> TrialScores:
    """A multilabel row becomes one yes-or-no question for each label (micro-averaging)."""
    positive = flag_targets(task_targets(rows, task))
    if task.kind is TaskKind.MULTILABEL:
        rows = [row for row in rows for _ in task.labels]
    return TrialScores(Scored(scores.ravel(), flagged.ravel(), positive.ravel()), rows)


def _task_report(task: TaskSpec, table: Table, weights: Mapping[str, Array]) -> dict[str, Any]:
    samples = {method: _samples(trials, weights) for method, trials in table.items()}
    first = table[TEACHER]
    report: dict[str, Any] = {
        "kind": task.kind.value,
        "flags": list(task.flagged_by),
        "rows_tested": len({row.id for trial in first for row in trial.rows}),
        "groups_tested": len(weights),
        "positive_share": round(float(np.mean([t.scored.positive.mean() for t in first])), 4),
        "methods": {method: _summary(values) for method, values in samples.items()},
        "slices": _slices(table, weights),
        "comparisons": {},
    }
    for one, other in (("cpfd", BASELINE), ("pfd", BASELINE), ("cpfd", "pfd"), (TEACHER, BASELINE)):
        if one in samples and other in samples:
            compared = {
                metric: _difference(samples[one][metric], samples[other][metric]) for metric in ("f1", "pr_auc")
            }
            report["comparisons"][f"{one} - {other}"] = compared
    report["gap_closed"] = {
        method: {metric: _gap_closed(samples, method, metric) for metric in ("f1", "pr_auc")}
        for method in ("pfd", "cpfd")
        if method in samples
    }
    return report


def _samples(trials: Sequence[TrialScores], weights: Mapping[str, Array]) -> dict[str, Array]:
    """Metric -> (trials, 1 + R): the value on the rows as they are, then on each replicate."""
    result: dict[str, Array] = {}
    for metric, function in METRICS.items():
        result[metric] = np.stack([_trial_samples(trial, function, weights) for trial in trials])
    return result


def _trial_samples(trial: TrialScores, metric: Callable[[Scored, Array], Array], weights: Mapping[str, Array]) -> Array:
    drawn_RN = np.stack([weights[row.group] for row in trial.rows], axis=1)
    ones_1N = np.ones((1, len(trial.rows)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return metric(trial.scored, np.concatenate([ones_1N, drawn_RN]))


def _summary(samples: Mapping[str, Array]) -> dict[str, Any]:
    return {
        metric: {
            "mean": _number(_mean(values[:, :1])[0]),
            "interval": _interval(_mean(values[:, 1:])),
            "trials": [_number(v) for v in values[:, 0]],
        }
        for metric, values in samples.items()
    }


def _difference(one: Array, other: Array) -> dict[str, Any]:
    difference = _mean(one - other)
    low, high = interval = _interval(difference[1:])
    verdict = "better" if low > 0 else "worse" if high < 0 else "not distinguishable"
    return {"difference": _number(difference[0]), "interval": interval, "verdict": verdict}


def _gap_closed(samples: Mapping[str, Mapping[str, Array]], method: str, metric: str) -> dict[str, Any]:
    """(method - baseline) / (teacher - baseline); undefined where the teacher's gain is within its interval."""
    base = _mean(samples[BASELINE][metric])
    gain, gap = _mean(samples[method][metric]) - base, _mean(samples[TEACHER][metric]) - base
    if _interval(gap[1:])[0] <= 0:
        return {"share": None, "interval": None, "why": "the teacher is not distinguishably better than the baseline"}
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"share": _number(gain[0] / gap[0]), "interval": _interval(gain[1:] / gap[1:]), "why": None}


def _slices(table: Table, weights: Mapping[str, Array]) -> dict[str, Any]:
    """Slice -> value -> method -> PR-AUC and F1, over the trials whose held-out rows hold a positive of the slice."""
    names = sorted({(k, v) for trial in table[TEACHER] for row in trial.rows for k, v in row.slices.items()})
    result: dict[str, Any] = {}
    for name, value in names:
        for method, trials in table.items():
            restricted = [_restrict(trial, name, value) for trial in trials]
            parts = [part for part in restricted if part.scored.positive.any()]
            if not parts:
                continue
            summary = _summary({m: s for m, s in _samples(parts, weights).items() if m in ("f1", "pr_auc")})
            entry = result.setdefault(name, {}).setdefault(value, {"rows": len({r.id for p in parts for r in p.rows})})
            entry[method] = summary
    return result


def _restrict(trial: TrialScores, name: str, value: str) -> TrialScores:
    chosen = np.asarray([row.slices.get(name) == value for row in trial.rows], np.bool_)
    s = trial.scored
    rows = [row for row, use in zip(trial.rows, chosen, strict=True) if use]
    return TrialScores(Scored(s.scores[chosen], s.flagged[chosen], s.positive[chosen]), rows)


def _confidence(out: Path, plan: ExperimentPlan) -> dict[str, Any]:
    return {trial.name: json.loads((out / trial.name / CONFIDENCE_FILE).read_text()) for trial in plan.trials}


def _mean(values: Array) -> Array:
    """Mean over trials (axis 0), without those where the metric is undefined; NaN where it is in all."""
    defined = ~np.isnan(values)
    counts = defined.sum(axis=0)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return np.divide(total, counts, out=np.full(total.shape, np.nan), where=counts > 0)


def _interval(values: Array) -> list[float]:
    """The 95 % interval over the replicates in which the value is defined."""
    defined = values[~np.isnan(values)]
    low, high = np.percentile(defined, _LEVEL) if len(defined) else (np.nan, np.nan)
    return [_number(low), _number(high)]


def _number(value: Any) -> float:
    return round(float(value), 4)
