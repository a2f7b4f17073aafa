"""Whether this client, not the service, was the limit: its loop's lag, its CPU, and what it could not send.

A sleep that overruns by 40 ms says that anything in this process, reading an answer included, may be 40 ms late. CPU
near one core says the same is about to happen: Locust is one thread. Lateness already counts in every latency, so a
test that passes has passed; one that fails while the generator was the limit has shown nothing about the service.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from loadtest.measurement.samples import UNSENT, Beat, Sample, percentile
from loadtest.objectives import GeneratorLimits


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
