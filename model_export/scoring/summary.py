"""Scored rows -> rates with intervals over groups, slice by slice, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from contract.bundle import Bundle
from model_export.scoring.scored_rows import ScoredRow, ScoredSet
from training.data.manifest import Manifest, Row
from training.evaluation.bootstrap import draw, interval, number
from training.evaluation.comparisons import too_few_groups
from training.evaluation.metrics import Scored, evaluate
from training.evaluation.shipping import threshold_fault
from training.evaluation.slices import threshold_by_slice

SHOWN: Final = ("miss_rate", "overkill", "f1", "pr_auc", "roc_auc", "ece")
REPLICATES = 1000


@dataclass(frozen=True)
class _Trial:
    scored: Scored
    rows: list[Row]


def summarise(found: ScoredSet, bundle: Bundle, manifest: Manifest) -> dict[str, Any]:
    """The document without its rows: what was scored, and each task's rates."""
    notes, provenance = [], bundle.manifest.provenance
    if provenance.manifest_digest == manifest.digest():
        folds = {
            name: {one.row.fold for one in rows if one.row.fold is not None} - {provenance.test_fold}
            for name, rows in found.scored.items()
        }
        known = ", ".join(name for name, seen in folds.items() if seen)
        if found.part != "test":
            notes.append(
                "rows of train or val are among them: model or thresholds were fitted on those, and know them too well"
            )
        elif known and provenance.every_fold_seen:
            notes.append(
                f"the model was trained on every fold, and knows the rows of {known} too well: score a bundle of a "
                "trial's own student"
            )
        elif known and provenance.test_fold is not None:
            others = ", ".join(map(str, sorted(set().union(*folds.values()))))
            notes.append(
                f"the model left out fold {provenance.test_fold}, not fold {others}: it was trained or calibrated on "
                f"the rows of {known}, and knows them too well"
            )
    return {
        "bundle": {"name": bundle.manifest.name, "version": bundle.manifest.version, "digest": bundle.digest},
        "manifest": {"name": manifest.name, "digest": manifest.digest(), "part": found.part},
        "notes": notes,
        "unreadable": dict(found.unreadable),
        "tasks": {
            task.name: _of_task(task.name, found.scored[task.name], found)
            for task in found.tasks
            if found.scored[task.name]
        },
    }


def worst(rows: Sequence[ScoredRow], number: int) -> dict[str, list[ScoredRow]]:
    """``missed`` and ``false alarm`` -> at most ``number`` of them, the farthest from the threshold first."""
    return {
        outcome: sorted((r for r in rows if r.outcome == outcome), key=lambda r: (-r.error, r.row.id))[:number]
        for outcome in ("missed", "false alarm")
    }


def _of_task(name: str, rows: Sequence[ScoredRow], found: ScoredSet) -> dict[str, Any]:
    positive = np.asarray([row.positive for row in rows])
    scored = Scored(
        np.asarray([row.decision.flag_score for row in rows]),
        np.asarray([row.decision.flagged for row in rows]),
        positive,
    )
    trial = _Trial(scored, [row.row for row in rows])
    draws = draw(name, trial.rows, [0], REPLICATES, 0)
    weights_RN = np.concatenate([np.ones((1, len(rows))), draws.of_rows(trial.rows)])
    with np.errstate(invalid="ignore", divide="ignore"):
        values = evaluate(scored, weights_RN)
    groups = {kind: {r.row.group for r in rows if r.positive is kind} for kind in (True, False)}
    counted = {outcome: sum(row.outcome == outcome for row in rows) for outcome in ("missed", "false alarm")}
    return {
        "rows": len(rows),
        "positives": int(positive.sum()),
        "positive_groups": len(groups[True]),
        "negative_groups": len(groups[False]),
        "missed": counted["missed"],
        "false_alarms": counted["false alarm"],
        "metrics": {m: {"value": number(values[m][0]), "interval": interval(values[m][1:])} for m in SHOWN},
        "threshold_fault": threshold_fault({m: {"mean": number(values[m][0])} for m in ("miss_rate", "overkill")}),
        "too_little_data": too_few_groups(len(groups[True]), len(groups[False])),
        "unserved": found.unserved.get(name),
        "unanswered": found.unanswered[name],
        "slices": threshold_by_slice([trial], draws),
    }
