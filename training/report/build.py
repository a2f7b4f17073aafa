"""``report.json``: every method beside its controls, with intervals.

The estimate of a metric is its mean over trials, each on its own held-out rows. ``evaluation.bootstrap`` says what the
interval holds; differences between methods are paired.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contract.decision import TaskSpec
from training.data.connected_rows import groups_of_titles
from training.data.manifest import Manifest, Row
from training.evaluation.bootstrap import Draws, draw, interval, mean_over_trials, number
from training.evaluation.comparisons import BASELINE, COMPARED, TEACHER, compare, gaps_closed, too_few_groups
from training.evaluation.metrics import Array, Scored, evaluate
from training.evaluation.shipping import has_final, judge, overall
from training.evaluation.slices import threshold_by_slice
from training.experiment.plan import FINAL_FOLDER, ExperimentPlan, read_plan
from training.experiment.predictions import PREDICTIONS_FILE
from training.experiment.repoint import judged_checkpoints
from training.experiment.trial_scores import (
    HeldOut,
    Table,
    TrialScores,
    method_scores,
    paired_scores,
    score_table,
    strata,
)
from training.fitting.checkpoint import CARD_FILE, read_policy
from training.report.held_out_classes import class_counts, positive_groups
from training.report.titles import subject_among
from training.teachers.confidence_record import CONFIDENCE_FILE

__all__ = ["BASELINE", "TEACHER", "TaskResult", "build_report", "measure", "measure_all"]
REPLICATES = 1000
_DONE = (CARD_FILE, PREDICTIONS_FILE)


@dataclass(frozen=True)
class TaskResult:
    """One task's scored rows and their bootstrap replicates.

    Attributes:
        table: method or control -> trials.
        draws: of the bootstrap.
        samples: method -> metric -> (trials, 1 + R): on the rows as they are, then on each replicate.
    """

    task: TaskSpec
    table: Table
    draws: Draws
    samples: dict[str, dict[str, Array]]

    @property
    def means(self) -> dict[str, dict[str, Array]]:
        """Method -> metric -> (1 + R,): means over trials."""
        weights_TR = self.draws.trials_TR
        return {
            method: {metric: mean_over_trials(values, weights_TR) for metric, values in by_metric.items()}
            for method, by_metric in self.samples.items()
        }


def require_finished(out: Path, plan: ExperimentPlan) -> None:
    """Raises unless every trial has the predictions of its teacher and of every method.

    Raises:
        FileNotFoundError: the message names each trial with what it lacks.
    """
    lacking = {trial.name: _unfinished(out / trial.name, plan) for trial in plan.trials}
    listed = "; ".join(f"{trial} lacks {', '.join(names)}" for trial, names in lacking.items() if names)
    if listed:
        raise FileNotFoundError(f"{out} is not finished: {listed}. The command that began it (`run`) resumes it")


def _unfinished(home: Path, plan: ExperimentPlan) -> list[str]:
    names = [name for name in (TEACHER, *plan.methods) if not all((home / name / file).exists() for file in _DONE)]
    confident = (home / CONFIDENCE_FILE).exists()  # written after the teacher, before the methods
    return names if confident or TEACHER in names else [TEACHER, *names]


def measure(
    out: Path,
    plan: ExperimentPlan,
    task: TaskSpec,
    rows: Mapping[str, Row],
    *,
    replicates: int,
    seed: int,
    held_out: HeldOut = "test",
) -> TaskResult:
    """One task of a finished experiment, scored and resampled.

    Raises:
        FileNotFoundError: a trial is not finished; the message names the file.
    """
    table = score_table(out, plan, task, rows, held_out)
    tested = [row for trial in table[TEACHER] for row in trial.rows]
    draws = draw(task.name, tested, strata(table), replicates, seed, groups_of_titles(list(rows.values())))
    samples = {method: _samples(trials, draws) for method, trials in table.items()}
    return TaskResult(task, table, draws, samples)


def measure_all(out: Path, manifest: Manifest, *, replicates: int = REPLICATES, seed: int = 0) -> list[TaskResult]:
    """Every task of a finished experiment, in the manifest's order; errors as ``read_plan`` and ``measure``."""
    plan = read_plan(out, manifest)
    require_finished(out, plan)
    rows = {row.id: row for row in manifest.rows}
    return [measure(out, plan, task, rows, replicates=replicates, seed=seed) for task in manifest.tasks]


def build_report(
    out: Path,
    manifest: Manifest,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    results: Sequence[TaskResult] | None = None,
) -> dict[str, Any]:
    """The report of a finished experiment.

    Args:
        out: the experiment's folder.
        manifest: the one it was run on.
        replicates: of the bootstrap.
        seed: of the bootstrap.
        results: of ``measure_all`` with the same replicates and seed, where they are at hand.

    Raises:
        FileNotFoundError: a trial is not finished; the message names it and what it lacks.
        ValueError: the experiment was run on another manifest.
    """
    plan = read_plan(out, manifest)
    require_finished(out, plan)
    rows = {row.id: row for row in manifest.rows}
    _require_one_point(plan, out)
    results = results or measure_all(out, manifest, replicates=replicates, seed=seed)
    tasks = {}
    for result in results:
        tasks[result.task.name] = _task_report(result, plan, rows)
        tasks[result.task.name]["paired"] = _paired_report(out, plan, result, rows)
        if final := _final_report(out, plan, result, rows):
            tasks[result.task.name]["final"] = final
    student = subject_among(plan.methods) or BASELINE
    verdicts = (
        {name: judge(task, student, final=has_final(task, student)) for name, task in tasks.items()}
        if student in plan.methods
        else {}
    )
    for name, verdict in verdicts.items():
        tasks[name]["ship"] = verdict.document()
    return {
        "ship": {"student": student if verdicts else None, "decision": overall(verdicts)},
        "manifest": {
            "name": manifest.name,
            "digest": plan.manifest_digest,
            "rows": len(manifest.rows),
            "privileged_groups": [group.name for group in manifest.privileged_groups],
        },
        "config_digest": plan.config.digest(),
        "model": plan.config.model.name,
        "trials": [trial.model_dump() for trial in plan.trials],
        "methods": [TEACHER, *plan.methods],
        "policies": {str(home.relative_to(out)): read_policy(home).digest() for home in judged_checkpoints(plan, out)},
        "bootstrap": {
            "replicates": replicates,
            "seed": seed,
            "unit": "group",
            "level": 95,
            "levels": ["group", "group of the title, of rows composed of a clip and a title", "seed within fold"],
            "adjustment": "Holm, within a family of comparisons of one task and metric",
        },
        "tasks": tasks,
        "teacher_confidence": _confidence(out, plan),
    }


def _require_one_point(plan: ExperimentPlan, out: Path) -> None:
    """Raises ValueError where checkpoints are cut at other operating points: their means would be of neither."""
    points = {home: {n: t.point for n, t in read_policy(home).tasks.items()} for home in judged_checkpoints(plan, out)}
    first, expected = next(iter(points.items()))
    for home, own in points.items():
        if own != expected:
            raise ValueError(
                f"{home} is cut at other operating points than {first.relative_to(out)}: `repoint` again, or `--back`"
            )


def _task_report(result: TaskResult, plan: ExperimentPlan, rows: Mapping[str, Row]) -> dict[str, Any]:
    first, means = result.table[TEACHER], result.means
    controls = [name for name in result.table if name not in (TEACHER, *plan.methods)]
    classes = {kind: class_counts(first, kind == "positive", result.task, rows) for kind in ("positive", "negative")}
    why = too_few_groups(classes["positive"]["groups"], classes["negative"]["groups"])
    withheld = why is not None
    return {
        "kind": result.task.kind.value,
        "flags": list(result.task.flagged_by),
        "rows_tested": len({row.id for trial in first for row in trial.rows}),
        "groups_tested": len(result.draws.groups),
        "title_groups_tested": len(result.draws.crossed),
        "positive_share": round(float(np.mean([t.scored.positive.mean() for t in first])), 4),
        "positive_groups": positive_groups(first),
        "classes": classes,
        "seeds_per_fold": sorted({strata(result.table).count(rows) for rows in strata(result.table)}),
        "methods": {method: summary(samples, result.draws.trials_TR) for method, samples in result.samples.items()},
        "controls": controls,
        "precision_reached_on_validation": _reached(result.table),
        "slices": _slices(result.table, result.draws),
        "threshold_by_slice": {
            method: threshold_by_slice(result.table[method], result.draws) for method in plan.methods
        },
        "comparisons": compare(means, plan.methods, controls, withheld=withheld),
        "gap_closed": gaps_closed(means, plan.methods, withheld=withheld),
        **({"verdicts_withheld": why} if withheld else {}),
    }


def _reached(table: Table) -> dict[str, dict[str, int]]:
    """Method -> ``p80``, ``p90`` -> in how many trials some threshold reached this precision on validation rows."""
    return {
        method: {name: sum(bool(np.isfinite(t.cuts[name])) for t in trials) for name in trials[0].cuts}
        for method, trials in table.items()
        if all(t.cuts for t in trials)
    }


def _paired_report(out: Path, plan: ExperimentPlan, result: TaskResult, rows: Mapping[str, Row]) -> dict[str, Any]:
    """Method -> F1 and PR-AUC where each row shares its request with an unrelated one of the other modality."""
    report = {}
    for method in (TEACHER, *plan.methods):
        trials = paired_scores(out, plan, method, result.task, rows)
        if trials:
            samples = _samples(trials, result.draws)
            report[method] = summary({m: samples[m] for m in COMPARED}, result.draws.trials_TR)
    return report


def _final_report(out: Path, plan: ExperimentPlan, result: TaskResult, rows: Mapping[str, Row]) -> dict[str, Any]:
    """Method -> metrics of the trials' students at the final one's temperature and thresholds; empty without it."""
    report = {}
    for method in plan.methods:
        home = out / FINAL_FOLDER / method
        if (home / CARD_FILE).exists():
            policy = read_policy(home).tasks[result.task.name]
            trials = [method_scores(out / trial.name / method, result.task, rows, policy) for trial in plan.trials]
            report[method] = summary(_samples(trials, result.draws), result.draws.trials_TR)
    return report


def _samples(trials: Sequence[TrialScores], draws: Draws) -> dict[str, Array]:
    """Metric -> (trials, 1 + R). A metric that some trial does not allow is left out."""
    replicates = []
    for trial in trials:
        drawn_RN = draws.of_rows(trial.rows)
        with np.errstate(invalid="ignore", divide="ignore"):
            replicates.append(evaluate(trial.scored, np.concatenate([np.ones((1, len(trial.rows))), drawn_RN])))
    return {
        metric: np.stack([one[metric] for one in replicates])
        for metric in replicates[0]
        if all(metric in f for f in replicates)
    }


def summary(samples: Mapping[str, Array], weights_TR: Array) -> dict[str, Any]:
    """Metric -> mean over trials, interval, values of the trials; None stands where a value is undefined."""
    result = {}
    for metric, values_TR in samples.items():
        mean_R = mean_over_trials(values_TR, weights_TR)
        result[metric] = {
            "mean": number(mean_R[0]),
            "interval": interval(mean_R[1:]),
            "trials": [number(v) for v in values_TR[:, 0]],
        }
    return result


def _slices(table: Table, draws: Draws) -> dict[str, Any]:
    """Slice -> value -> method -> PR-AUC and F1, over the trials whose held-out rows hold a positive of the slice."""
    names = sorted({(k, v) for trial in table[TEACHER] for row in trial.rows for k, v in row.slices.items()})
    result: dict[str, Any] = {}
    for name, value in names:
        for method, trials in table.items():
            restricted = [_restrict(trial, name, value) for trial in trials]
            positions = [i for i, part in enumerate(restricted) if part.scored.positive.any()]
            if not positions:
                continue
            parts = [restricted[i] for i in positions]
            samples = _samples(parts, draws)
            entry = result.setdefault(name, {}).setdefault(value, {"rows": len({r.id for p in parts for r in p.rows})})
            entry[method] = summary({m: samples[m] for m in COMPARED}, draws.trials_TR[positions])
    return result


def _restrict(trial: TrialScores, name: str, value: str) -> TrialScores:
    chosen = np.asarray([row.slices.get(name) == value for row in trial.rows], np.bool_)
    s = trial.scored
    rows = [row for row, use in zip(trial.rows, chosen, strict=True) if use]
    return TrialScores(Scored(s.scores[chosen], s.flagged[chosen], s.positive[chosen]), rows)


def _confidence(out: Path, plan: ExperimentPlan) -> dict[str, Any]:
    return {trial.name: json.loads((out / trial.name / CONFIDENCE_FILE).read_text()) for trial in plan.trials}
