"""Does the threshold treat one slice of the rows worse than the others: misses and false alarms, slice by slice.

A slice is what a row says of itself (``Row.slices``): a sensor, a country, a language, the loudness of the place. Each
value is compared with the rest of the rows that name the same slice, by one draw of groups for both, and Holm's
adjustment is over all slices of a task. A finding is warned of where it also is large enough to matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from training.data.manifest import Row
from training.evaluation.bootstrap import (
    FEWEST_GROUPS,
    SIGNIFICANT,
    UNDECIDED,
    Draws,
    holm,
    interval,
    mean_over_trials,
    number,
    p_value,
)
from training.evaluation.metrics import Array, Metric, Scored, miss_rate, overkill

MARGIN = 0.05
"""A difference of a rate below this is not warned of, however sure it is."""
TOO_FEW = "too few groups to tell"
RATES: Final[dict[str, Metric]] = {"miss_rate": miss_rate, "overkill": overkill}
_WORDS: Final = {"miss_rate": ("misses", "positives"), "overkill": ("flags", "negatives")}
Name = tuple[str, str]
"""Slice and value."""


class ScoredTrial(Protocol):
    """One method's held-out rows in one trial, scored."""

    @property
    def scored(self) -> Scored: ...
    @property
    def rows(self) -> list[Row]: ...


@dataclass(frozen=True)
class _Rate:
    """A rate within a slice and elsewhere: (1 + R,) means over trials, and in how many groups each is measured."""

    inside_R: Array
    rest_R: Array
    groups: int
    groups_elsewhere: int

    @property
    def tells(self) -> bool:
        return min(self.groups, self.groups_elsewhere) >= FEWEST_GROUPS and not np.isnan(self.difference[0])

    @property
    def difference(self) -> Array:
        """(1 + R,)"""
        return np.asarray(self.inside_R - self.rest_R)


def threshold_by_slice(trials: Sequence[ScoredTrial], draws: Draws) -> dict[str, dict[str, dict[str, Any]]]:
    """Slice -> value -> rows, miss rate and overkill with their difference to the rest, and warnings in words.

    Args:
        trials: of one method, as it decides at its own thresholds.
        draws: of the task's bootstrap.
    """
    names = sorted({pair for trial in trials for row in trial.rows for pair in row.slices.items()})
    if not names:
        return {}
    weights = [_weights(trial, draws) for trial in trials]
    rates = {(name, rate): _rate(trials, weights, draws, name, rate) for name in names for rate in RATES}
    adjusted = _adjusted(names, rates)
    report: dict[str, dict[str, dict[str, Any]]] = {}
    for name, value in names:
        rows = {row.id for trial in trials for row in trial.rows if row.slices.get(name) == value}
        entry: dict[str, Any] = {"rows": len(rows), "warnings": []}
        for rate in RATES:
            found = rates[(name, value), rate]
            entry[rate] = _entry(found, adjusted.get(((name, value), rate)))
            if entry[rate]["verdict"] == "worse" and entry[rate]["difference"] >= MARGIN:
                entry["warnings"].append(_warning(rate, entry[rate]))
        report.setdefault(name, {})[value] = entry
    return report


def _weights(trial: ScoredTrial, draws: Draws) -> Array:
    """(1 + R, N): each row once, then as often as each replicate draws it."""
    return np.concatenate([np.ones((1, len(trial.rows))), draws.of_rows(trial.rows)])


def _rate(trials: Sequence[ScoredTrial], weights: Sequence[Array], draws: Draws, name: Name, rate: str) -> _Rate:
    sides: list[Array] = []
    counts: list[int] = []
    for inside in (True, False):
        values, groups = [], set()
        for trial, weights_RN in zip(trials, weights, strict=True):
            chosen = _chosen(trial.rows, name, inside)
            values.append(RATES[rate](_only(trial.scored, chosen), weights_RN[:, chosen]))
            asked = trial.scored.positive if rate == "miss_rate" else ~trial.scored.positive
            groups |= {trial.rows[i].group for i in np.flatnonzero(chosen & asked)}
        sides.append(mean_over_trials(np.stack(values), draws.trials_TR))
        counts.append(len(groups))
    return _Rate(sides[0], sides[1], counts[0], counts[1])


def _chosen(rows: Sequence[Row], name: Name, inside: bool) -> NDArray[np.bool_]:
    """Of the rows that name the slice, those of the value, or the others."""
    return np.asarray([name[0] in row.slices and (row.slices[name[0]] == name[1]) is inside for row in rows], np.bool_)


def _only(scored: Scored, chosen: NDArray[np.bool_]) -> Scored:
    return Scored(scored.scores[chosen], scored.flagged[chosen], scored.positive[chosen])


def _adjusted(names: Sequence[Name], rates: dict[tuple[Name, str], _Rate]) -> dict[tuple[Name, str], float]:
    """p-values over all slices of the task. Of two values each is the other's rest: that is one test, not two."""
    family = dict(_tests(names, rates))
    together = {str(position): p_value(rates[tests[0]].difference[1:]) for position, tests in family.items()}
    held = holm(together)
    return {test: held[str(position)] for position, tests in family.items() for test in tests}


def _tests(
    names: Sequence[Name], rates: dict[tuple[Name, str], _Rate]
) -> Iterator[tuple[tuple[str, str, str], list[tuple[Name, str]]]]:
    values = {slice_name: [v for n, v in names if n == slice_name] for slice_name, _ in names}
    for rate in RATES:
        for slice_name, found in values.items():
            known = [value for value in found if rates[(slice_name, value), rate].tells]
            if len(found) == 2 and len(known) == 2:
                yield (slice_name, "", rate), [((slice_name, value), rate) for value in known]
            else:
                yield from (((slice_name, value, rate), [((slice_name, value), rate)]) for value in known)


def _entry(found: _Rate, p: float | None) -> dict[str, Any]:
    difference = number(found.difference[0])
    verdict = TOO_FEW if p is None else UNDECIDED
    if p is not None and p < SIGNIFICANT and difference:
        verdict = "worse" if difference > 0 else "better"
    return {
        "mean": number(found.inside_R[0]),
        "interval": interval(found.inside_R[1:]),
        "elsewhere": number(found.rest_R[0]),
        "difference": difference,
        "difference_interval": interval(found.difference[1:]),
        "groups": found.groups,
        "groups_elsewhere": found.groups_elsewhere,
        "p_holm": None if p is None else round(p, 5),
        "verdict": verdict,
    }


def _warning(rate: str, entry: dict[str, Any]) -> str:
    does, of = _WORDS[rate]
    low, high = entry["difference_interval"]
    return (
        f"{does} {entry['mean']:.0%} of {of}, {entry['elsewhere']:.0%} elsewhere "
        f"({entry['difference']:+.2f} [{low:+.2f}, {high:+.2f}])"
    )
