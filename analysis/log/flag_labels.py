"""Which labels raise a task's flag, read off the scores: a log names labels, not their meaning.

A binary or multiclass task's flag score is the sum of its flag labels' scores (``contract.decision.decide_task``), so
the labels solve a system of equations; a multilabel task's flag score is one label's own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.errors import UnclearLabels
from analysis.log.database import Database

_TOLERANCE: Final = 2e-3
"""Scores may be rounded in the log."""
_SAMPLE: Final = 2000
_MOST_ENUMERATED: Final = 10
"""Labels up to which every set of them is tried."""


@dataclass(frozen=True)
class FlagLabels:
    """What raises a task's flag.

    Attributes:
        labels: a video with one of them should be flagged.
        probability: whether the flag score is the probability of that, so that its calibration can be judged. It is not
            for a multilabel task, whose flag score is that of the nearest label alone.
        inferred: read off the scores; else the analyst said so.
    """

    labels: tuple[str, ...]
    probability: bool
    inferred: bool


def flag_labels(database: Database, task: str, experiment: str, given: Sequence[str] = ()) -> FlagLabels:
    """The flag labels of a task of the table ``decisions``.

    Raises:
        UnclearLabels: the scores do not tell them and nothing is given, or a given label is none of the task's.
    """
    names, scores_NK, flag_score_N = _scores(database, task, experiment)
    if unknown := [label for label in given if label not in names]:
        raise UnclearLabels(f"task {task}: no label {unknown[0]}; it has {', '.join(names)}")
    summed = _summed(scores_NK, flag_score_N)
    if given:
        chosen = np.isin(names, list(given))
        return FlagLabels(tuple(given), _fits(scores_NK, chosen, flag_score_N), inferred=False)
    if summed is not None:
        return FlagLabels(tuple(np.asarray(names)[summed].tolist()), probability=True, inferred=True)
    gap_NK = np.abs(scores_NK - flag_score_N[:, None])
    nearest = np.unique(gap_NK.argmin(axis=1))
    if (gap_NK.min(axis=1) > _TOLERANCE).any():
        raise UnclearLabels(f"task {task}: say which labels raise its flag: --positive {task}={names[-1]}")
    return FlagLabels(tuple(names[k] for k in nearest), probability=False, inferred=True)


def _scores(
    database: Database, task: str, experiment: str
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    rows = database.execute(
        "SELECT j.value FROM decisions d, json_each(d.tasks) j WHERE j.key = ? AND d.experiment = ? "
        "ORDER BY d.decision_id LIMIT ?",
        [task, experiment, _SAMPLE],
    ).fetchall()
    records = [json.loads(row[0]) for row in rows]
    names = list(dict.fromkeys(label for record in records for label in record["scores"]))
    scores = [[float(record["scores"].get(name, 0.0)) for name in names] for record in records]
    return names, np.asarray(scores), np.asarray([float(record["flag_score"]) for record in records])


def _summed(scores_NK: NDArray[np.float64], flag_score_N: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    if np.abs(scores_NK.sum(axis=1) - 1).max() > scores_NK.shape[1] * _TOLERANCE:
        return None
    labels = scores_NK.shape[1]
    if labels > _MOST_ENUMERATED:
        chosen = np.linalg.lstsq(scores_NK, flag_score_N, rcond=1e-3)[0] > 0.5
        return chosen if chosen.any() and _fits(scores_NK, chosen, flag_score_N) else None
    subsets_SK = (np.arange(1, 2**labels)[:, None] >> np.arange(labels)) & 1 == 1
    fitting = [subset for subset in subsets_SK if _fits(scores_NK, subset, flag_score_N)]
    return fitting[0] if len(fitting) == 1 else None


def _fits(scores_NK: NDArray[np.float64], chosen: NDArray[np.bool_], flag_score_N: NDArray[np.float64]) -> bool:
    return bool(np.abs(scores_NK[:, chosen].sum(axis=1) - flag_score_N).max() <= scores_NK.shape[1] * _TOLERANCE)
