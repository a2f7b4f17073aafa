"""The generator's own pulse, taken while it sends."""

from __future__ import annotations

import time
from collections.abc import Callable

from loadtest.measurement.samples import Beat

_BEAT_S, _NAP_S = 0.5, 0.02


class Pulse:
    """Takes the generator's pulse.

    Args:
        now_s: seconds since the plan began.
        sleep: for so many seconds, letting others run.
        cpu_s: CPU seconds of this process.
    """

    def __init__(
        self,
        now_s: Callable[[], float],
        sleep: Callable[[float], object],
        cpu_s: Callable[[], float] = time.process_time,
    ) -> None:
        self._now_s = now_s
        self._sleep = sleep
        self._cpu_s = cpu_s

    def beat(self, stage_at: Callable[[float], int], in_flight: Callable[[], int]) -> Beat:
        """Naps for half a second; returns what it noticed."""
        began_s, cpu_s, worst_s, most = self._now_s(), self._cpu_s(), 0.0, in_flight()
        while (napped_s := self._now_s()) - began_s < _BEAT_S:
            self._sleep(_NAP_S)
            worst_s = max(worst_s, self._now_s() - napped_s - _NAP_S)
            most = max(most, in_flight())
        wall_s = max(1e-9, self._now_s() - began_s)
        return Beat(began_s, stage_at(began_s), worst_s, (self._cpu_s() - cpu_s) / wall_s, most)
