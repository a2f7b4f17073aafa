"""Methods ranked on validation rows alone, so that a formulation is chosen without test rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.data.manifest import Manifest
from training.evaluation.bootstrap import interval, number, p_value
from training.evaluation.comparisons import BASELINE
from training.experiment.plan import read_plan
from training.report.build import measure

_JUDGED = ("pr_auc", "max_f1")


def rank_on_validation(
    out: Path, manifest: Manifest, tasks: Sequence[str], *, replicates: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """Students, best first, by mean validation PR-AUC over the tuning tasks. No test prediction is opened.

    With folds, a validation row of one trial is a test row of another: only tasks that are not looked at stay
    untouched.

    Threshold and temperature were fitted on these rows, so F1 at the threshold would flatter; PR-AUC and the F1 of the
    best threshold (``max_f1``) do not depend on them.

    Args:
        out: of the experiment.
        manifest: it was run on.
        tasks: that a choice may look at; others stay untouched for the final report.
        replicates: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        KeyError: the manifest has no such task.
        FileNotFoundError: a trial is not finished, or has no validation predictions.
    """
    plan = read_plan(out, manifest)
    rows = {row.id: row for row in manifest.rows}
    by_task = [
        measure(out, plan, manifest.task(name), rows, replicates=replicates, seed=seed, held_out="val").means
        for name in tasks
    ]
    means = {
        method: {metric: np.mean([task[method][metric] for task in by_task], axis=0) for metric in _JUDGED}
        for method in plan.methods
    }
    ranking = []
    for method, values in sorted(means.items(), key=lambda entry: -entry[1]["pr_auc"][0]):
        entry: dict[str, Any] = {"method": method}
        for metric in _JUDGED:
            entry[metric] = {"mean": number(values[metric][0]), "interval": interval(values[metric][1:])}
        if BASELINE in means and method != BASELINE:
            gain_R = values["pr_auc"] - means[BASELINE]["pr_auc"]
            entry["pr_auc_over_baseline"] = {
                "difference": number(gain_R[0]),
                "interval": interval(gain_R[1:]),
                "p_value": round(p_value(gain_R[1:]), 5),
            }
        ranking.append(entry)
    return ranking
