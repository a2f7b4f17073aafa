"""Figures of every row and task, and what each row adds to the one above it, with intervals over groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from contract.decision import TaskSpec
from recipes.ablation.schedule import PlannedRow
from training.data.connected_rows import groups_of_titles
from training.data.manifest import Manifest
from training.evaluation.bootstrap import draw, interval, mean_over_trials, number, verdict
from training.evaluation.metrics import Array, evaluate
from training.experiment.plan import Trial
from training.experiment.trial_scores import TrialScores, method_scores

METRICS: Final = ("pr_auc", "roc_auc", "miss_rate", "overkill")


def ablation_document(
    manifest: Manifest, rows: Sequence[PlannedRow], trials: Sequence[Trial], *, replicates: int, seed: int = 0
) -> dict[str, Any]:
    """Task -> row -> figures on held-out rows; all of a task's rows are drawn together, so that differences are paired.

    Raises:
        FileNotFoundError: a row is not finished; the message names the file.
    """
    return {
        "manifest": {"name": manifest.name, "digest": manifest.digest(), "rows": len(manifest.rows)},
        "trials": [trial.name for trial in trials],
        "replicates": replicates,
        "rows": [
            {
                "name": planned.row.name,
                "says": planned.row.says,
                "method": planned.row.method,
                "preset": planned.row.preset,
                "changes": planned.row.changes,
                "config_digest": planned.config.digest(),
                "epochs": planned.config.optimiser.epochs,
            }
            for planned in rows
        ],
        "tasks": {task.name: _task(manifest, rows, trials, task, replicates, seed) for task in manifest.tasks},
    }


def _task(
    manifest: Manifest,
    rows: Sequence[PlannedRow],
    trials: Sequence[Trial],
    task: TaskSpec,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    known = {row.id: row for row in manifest.rows}
    scores = {
        planned.row.name: [method_scores(planned.home / t.name / planned.row.method, task, known) for t in trials]
        for planned in rows
    }
    first = next(iter(scores.values()))
    tested = [row for trial in first for row in trial.rows]
    strata = [tuple(row.id for row in trial.rows) for trial in first]
    draws = draw(task.name, tested, strata, replicates, seed, groups_of_titles(list(manifest.rows)))
    means: dict[str, dict[str, Array]] = {}
    found: dict[str, Any] = {}
    above: str | None = None
    for name, trial_scores in scores.items():
        weights = [np.concatenate([np.ones((1, len(t.rows))), draws.of_rows(t.rows)]) for t in trial_scores]
        samples = [_evaluated(t, weight_RN) for t, weight_RN in zip(trial_scores, weights, strict=True)]
        means[name] = {m: mean_over_trials(np.stack([s[m] for s in samples]), draws.trials_TR) for m in METRICS}
        entry: dict[str, Any] = {
            metric: {
                "value": number(values_R[0]),
                "interval": interval(values_R[1:]),
                "trials": [number(sample[metric][0]) for sample in samples],
            }
            for metric, values_R in means[name].items()
        }
        if above is not None:
            gain_R = means[name]["pr_auc"] - means[above]["pr_auc"]
            low, high = interval(gain_R[1:])
            entry["gain"] = {"value": number(gain_R[0]), "interval": [low, high], "verdict": verdict(low, high)}
        found[name], above = entry, name
    return {"rows_tested": len(tested), "groups": len(draws.groups), "rows": found}


def _evaluated(trial: TrialScores, weights_RN: Array) -> dict[str, Array]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return evaluate(trial.scored, weights_RN)


def render(document: dict[str, Any]) -> str:
    """``ablation.md``."""
    names = [row["name"] for row in document["rows"]]
    lines = ["| row | what it is |", "|---|---|"]
    lines += [f"| {row['name']} | {row['says']} |" for row in document["rows"]]
    for task, measured in document["tasks"].items():
        lines += [
            "",
            f"**{task}**, {measured['rows_tested']} held-out rows of {measured['groups']} groups",
            "",
            "| row | PR-AUC | ROC-AUC | miss | overkill | PR-AUC over the row above |",
            "|---|---|---|---|---|---|",
        ]
        for name in names:
            entry = measured["rows"][name]
            cells = [_with_interval(entry["pr_auc"], "{:.3f}"), _with_interval(entry["roc_auc"], "{:.3f}")]
            cells += [_shown(entry[metric]["value"], "{:.2f}") for metric in ("miss_rate", "overkill")]
            gain = entry.get("gain")
            cells.append("" if gain is None else f"{_with_interval(gain, '{:+.3f}')} {gain['verdict']}")
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _with_interval(entry: dict[str, Any], form: str) -> str:
    low, high = (_shown(end, form) for end in entry["interval"])
    return f"{_shown(entry['value'], form)} [{low}, {high}]"


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
