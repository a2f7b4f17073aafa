"""Whether this client, not the service, was the limit: its loop's lag, its CPU, and what it could not send.

A sleep that overruns by 40 ms says that anything in this process, reading an answer included, may be 40 ms late. CPU
near one core says the same is about to happen: Locust is one thread. Lateness already counts in every latency, so a
test that passes has passed; one that fails while the generator was the limit has shown nothing about the service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from loadtest.samples import Beat, Sample, percentile

UNSENT = "generator_full"
_BEAT_S, _NAP_S = 0.5, 0.02


class GeneratorLimits(BaseModel):
    """Beyond these the generator was the limit."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_lag_p95_ms: float = Field(default=50.0, gt=0)
    """95 % of the half seconds must not see a longer overrun of a short sleep."""
    max_late_p99_ms: float = Field(default=100.0, gt=0)
    """99 % of the requests must begin within this of their due time."""
    max_cpu_share: float = Field(default=0.85, gt=0, le=1)
    """CPU time over wall time of one generator process, on average over a stage."""


@dataclass(frozen=True)
class Headroom:
    """How the generator fared in a stage.

    Attributes:
        lag_p95_ms: overrun of short sleeps.
        late_p99_ms: how late requests began.
        cpu_share: mean CPU of a process; 1 is one core.
        max_in_flight: most requests in flight in one process.
        unsent: arrivals that no room was left for.
        reasons: why the generator was the limit; empty: it was not.
    """

    lag_p95_ms: float
    late_p99_ms: float
    cpu_share: float
    max_in_flight: int
    unsent: int
    reasons: tuple[str, ...]


def headroom(beats: Iterable[Beat], samples: Iterable[Sample], limits: GeneratorLimits) -> Headroom:
    """The generator's fare, from its beats and what it sent."""
    pulse, sent = list(beats), list(samples)
    lag_ms = 1000 * percentile([beat.lag_s for beat in pulse], 0.95)
    late_ms = 1000 * percentile([sample.late_s for sample in sent], 0.99)
    cpu = sum(beat.cpu_share for beat in pulse) / max(1, len(pulse))
    unsent = sum(sample.code == UNSENT for sample in sent)
    reasons = []
    if lag_ms > limits.max_lag_p95_ms:
        reasons.append(f"its loop lagged {lag_ms:.0f} ms (limit {limits.max_lag_p95_ms:.0f})")
    if late_ms > limits.max_late_p99_ms:
        reasons.append(f"requests began {late_ms:.0f} ms late (limit {limits.max_late_p99_ms:.0f})")
    if cpu > limits.max_cpu_share:
        reasons.append(f"it used {cpu:.0%} of a core (limit {limits.max_cpu_share:.0%})")
    if unsent:
        reasons.append(f"{unsent} requests were not sent: too many were in flight")
    in_flight = max((beat.in_flight for beat in pulse), default=0)
    return Headroom(lag_ms, late_ms, cpu, in_flight, unsent, tuple(reasons))


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
