"""A correction learnt on line: how long work takes, over how long it was expected to take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

_GAIN = 0.15
_STEP = 0.6
"""How far, in log units, one surprise may pull: one in ten callers who lie by any factor move the factor by 7 %."""
_BOUND = math.log(50.0)
_FIRST = 8
"""Measurements before the factor counts as learnt; these pull without that bound, so that a bad guess is left fast."""
_STALE_S = 60.0
_QUANTILE = 0.99
"""Of single measurements. What is accepted is wanted in time in 99 of 100 cases, and a margin of less promised less."""
_QUANTILE_GAIN = 0.1
_MARGIN = (math.log(1.05), math.log(2.5))


class Estimate:
    """The factor, and the margin under which 99 of 100 measurements stay.

    Args:
        factor: to begin with.
        clock: monotonic seconds.
    """

    def __init__(self, factor: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._log = math.log(factor)
        self._margin = math.log(1.5)
        self._seen = 0
        self._last = -math.inf

    def learn(self, ratio: float) -> None:
        """Takes one measurement.

        Args:
            ratio: seconds measured over seconds expected before any correction. What is no positive number is left out.
        """
        if not (math.isfinite(ratio) and ratio > 0):
            return
        gap = math.log(ratio) - self._log
        if self._seen < _FIRST:
            self._log += gap / (self._seen + 1)
        else:
            self._log += _GAIN * max(-_STEP, min(_STEP, gap))
            self._margin += _QUANTILE_GAIN * (_QUANTILE if gap > self._margin else _QUANTILE - 1)
        self._log = max(-_BOUND, min(_BOUND, self._log))
        self._margin = max(_MARGIN[0], min(_MARGIN[1], self._margin))
        self._seen += 1
        self._last = self._clock()

    def learn_at_least(self, ratio: float) -> None:
        """Takes a measurement that was broken off: it would have been this or more."""
        if ratio > self.factor:
            self.learn(ratio)

    @property
    def factor(self) -> float:
        """What to multiply an expectation with."""
        return math.exp(self._log)

    @property
    def margin(self) -> float:
        """What to multiply a prediction with to be rarely too low; above 1."""
        return math.exp(self._margin)

    @property
    def trusted(self) -> bool:
        """Whether enough was measured, and lately: nobody may be refused on a guess, or for ever on a bad hour."""
        return self._seen >= _FIRST and self._clock() - self._last <= _STALE_S
