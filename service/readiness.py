"""Readiness: whether requests are taken now, and if not, why."""

from __future__ import annotations

from collections.abc import Callable

from service.errors import Draining, NotReady
from service.metrics import Metrics


class Readiness:
    """Starting, open, or draining; and the faults of the parts.

    Args:
        faults: why parts cannot work now; asked at each probe.
        metrics: where it shows.
    """

    def __init__(self, faults: Callable[[], list[str]], metrics: Metrics) -> None:
        self._faults = faults
        self._metrics = metrics
        self.started = False
        self.draining = False

    def reasons(self) -> list[str]:
        """Why the service is not ready; empty if it is."""
        reasons = ["draining"] if self.draining else []
        reasons += self._faults()
        if not self.started and not reasons:
            reasons.append("starting")
        self._metrics.ready.set(not reasons)
        return reasons

    def refusal(self) -> Draining | NotReady | None:
        """What a request is told that must not be taken now. A part that is being replaced refuses nobody."""
        if self.draining:
            return Draining("the service is shutting down: send the request again", retry_after_s=1)
        if not self.started:
            return NotReady("the service is still starting: send the request again", retry_after_s=2)
        return None
