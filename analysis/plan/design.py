"""How far chance moves a share, from what is known before the start."""

from __future__ import annotations

from math import exp
from typing import Literal

from pydantic import Field, model_validator

from contract.frozen import FrozenDocument

Metric = Literal["recall", "precision", "overkill", "miss", "error_rate"]
_OF_FLAGGED = frozenset({"precision"})
_OF_ALL = frozenset({"error_rate"})


class Design(FrozenDocument):
    """An experiment before its start. Shares are in [0, 1]."""

    metric: Metric = "recall"
    """A share: of positives that are flagged (recall) or not (miss), of flagged that are positive, of negatives that
    flagged (overkill), of requests without a verdict."""
    base_rate: float = Field(default=0.8, gt=0, lt=1)
    """What the control has."""
    counting_rows: float = Field(default=0.05, gt=0, le=1)
    """Share of rows that the metric is about: positives, for recall; flagged rows, for precision."""
    treatment_share: float = Field(default=0.5, gt=0, lt=1)
    """Of units."""
    rows_a_unit: float = Field(default=2.0, ge=1)
    """Mean over units."""
    rows_variation: float = Field(default=0.5, ge=0)
    """Standard deviation of a unit's rows over their mean."""
    unit_correlation: float = Field(default=0.1, ge=0, le=1)
    """Of two rows of a unit, in what is counted."""
    review_flagged: float = Field(default=1.0, gt=0, le=1)
    """Probability with which a flagged row is labelled."""
    review_passed: float = Field(default=1.0, gt=0, le=1)
    """The same of a row that was not flagged."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Two-sided."""
    power: float = Field(default=0.8, gt=0, lt=1)
    """Chance to find an effect of the smallest size that matters."""
    planned_units: int | None = Field(default=None, ge=1)
    """Units that count at which the sequence is narrowest; a fifth of those expected where nothing is said."""
    looks: int = Field(default=50, ge=1, le=500)
    """At even distances."""

    @model_validator(mode="after")
    def _alpha_below_power(self) -> Design:
        if self.power <= self.alpha:
            raise ValueError("power must exceed alpha")
        return self

    @property
    def row_variance(self) -> float:
        """Variance that one counting row gives the share, weighted by 1 / the probability of its label.

        sum over both outcomes of P(outcome) (outcome - share)^2 / P(label | outcome), where whether a row is flagged is
        the outcome itself (recall, overkill), its opposite (miss) or certain (precision).
        """
        p, flagged, passed = self.base_rate, self.review_flagged, self.review_passed
        if self.metric in _OF_ALL:
            flagged = passed = 1.0
        elif self.metric in _OF_FLAGGED:
            passed = flagged
        elif self.metric == "miss":
            flagged, passed = passed, flagged
        return p * (1 - p) ** 2 / flagged + (1 - p) * p**2 / passed

    @property
    def design_effect(self) -> float:
        """By how much rows of a unit are worth less than independent ones: 1 + icc (E[K^2] / E[K] - 1); K rows count.

        Kish (1965). A unit has m rows, each of which counts with probability c:
        E[K^2] / E[K] = 1 + c (E[m^2] / E[m] - 1).
        Sampling labels adds to the variance of a row, not to what rows of a unit have in common, so it thins the
        correlation.
        """
        m = self.rows_a_unit
        correlation = self.unit_correlation * self.base_rate * (1 - self.base_rate) / self.row_variance
        return 1 + correlation * self._counting * (m * (1 + self.rows_variation**2) - 1)

    @property
    def counting_units_share(self) -> float:
        """About which share of units has a labelled row that counts, at most all: rows taken as Poisson."""
        labelled = self.review_flagged * self.base_rate + self.review_passed * (1 - self.base_rate)
        if self.metric in _OF_ALL:
            labelled = 1.0
        return 1 - exp(-self.rows_a_unit * self._counting * labelled)

    def error(self, units: float) -> float:
        """Standard error of treatment less control after so many units of both arms together."""
        rows = units * self.rows_a_unit * self._counting
        split = 1 / self.treatment_share + 1 / (1 - self.treatment_share)
        return float((self.row_variance * self.design_effect * split / rows) ** 0.5)

    @property
    def _counting(self) -> float:
        return 1.0 if self.metric in _OF_ALL else self.counting_rows
