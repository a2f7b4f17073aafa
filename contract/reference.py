"""Reference: how a bundle's flag scores are distributed on held-out rows, for drift to be measured against.

    reference.json   ScoreReference: for each task a histogram over ``SCORE_BOUNDS``, and of which rows it is

The service counts its scores in the same bins, so the two can be compared bin by bin.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Literal

from pydantic import Field, field_validator

from contract.frozen import FrozenDocument

SCORE_BOUNDS: tuple[float, ...] = tuple(i / 20 for i in range(1, 21))
"""Upper bounds, themselves included, of the bins of a flag score; the first bin begins at 0, itself included."""
SMOOTHING = 0.5
"""Rows added to every bin before shares are compared: a logarithm needs bins that are not empty."""

_DIGEST = r"^[0-9a-f]{64}$"


class TaskReference(FrozenDocument):
    """One task's histogram."""

    counts: tuple[int, ...] = Field(min_length=len(SCORE_BOUNDS), max_length=len(SCORE_BOUNDS))
    """Rows in each bin of ``SCORE_BOUNDS``."""

    @field_validator("counts")
    @classmethod
    def _counts_are_of_rows(cls, counts: tuple[int, ...]) -> tuple[int, ...]:
        if min(counts) < 0 or sum(counts) == 0:
            raise ValueError("counts must not be negative, nor all be 0")
        return counts

    @property
    def rows(self) -> int:
        """How many scores the histogram holds."""
        return sum(self.counts)

    def shares(self) -> tuple[float, ...]:
        """Each bin's share, above 0, after ``SMOOTHING``; they add up to 1."""
        total = self.rows + SMOOTHING * len(self.counts)
        return tuple((count + SMOOTHING) / total for count in self.counts)


class ScoreReference(FrozenDocument):
    """``reference.json``."""

    version: Literal[1] = 1
    model_digest: str = Field(pattern=_DIGEST)
    """Of the bundle's graphs."""
    policy_digest: str = Field(pattern=_DIGEST)
    """Of the policy that calibrated them."""
    manifest_digest: str = Field(pattern=_DIGEST)
    """Of the manifest whose rows were scored. It may be another one than the model was trained on."""
    split: Literal["train", "val", "test", "out_of_fold"]
    """Which rows. ``out_of_fold``: test rows of every fold, each scored by the student of the same recipe that had not
    seen it, because this one, trained on all folds, has."""
    test_fold: int | None = None
    """The fold that was left out, where the manifest has folds."""
    rows: int = Field(ge=1)
    """Rows that were read."""
    failed: int = Field(default=0, ge=0)
    """Further rows of the split whose clip could not be decoded."""
    upper_bounds: tuple[float, ...] = SCORE_BOUNDS
    """Of the bins."""
    tasks: dict[str, TaskReference] = Field(min_length=1)
    """Task -> its histogram, over every row that holds one of its modalities, labelled or not: what a service counts.
    A task that no row supports is absent."""

    @field_validator("upper_bounds")
    @classmethod
    def _bounds_are_the_services(cls, bounds: tuple[float, ...]) -> tuple[float, ...]:
        if bounds != SCORE_BOUNDS:
            raise ValueError(f"upper_bounds must be the {len(SCORE_BOUNDS)} that scores are counted in")
        return bounds


def count_scores(scores: Iterable[float]) -> TaskReference:
    """The histogram of flag scores in [0, 1].

    Raises:
        ValueError: there are none, or one lies outside [0, 1].
    """
    counts = [0] * len(SCORE_BOUNDS)
    for score in scores:
        if not 0 <= score <= 1:
            raise ValueError(f"a flag score of {score} is no probability")
        counts[bisect_left(SCORE_BOUNDS, score)] += 1
    return TaskReference(counts=tuple(counts))
