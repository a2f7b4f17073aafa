"""Admission: a bounded number of requests and bytes in flight; the rest is told when to come back."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from types import TracebackType

from service.errors import Draining, NotReady, Overloaded
from service.metrics import Metrics
from service.settings import AdmissionSettings

_SMOOTHING = 0.1
_MAX_RETRY_AFTER_S = 120
SHED_REASONS = ("requests", "bytes", NotReady.code, Draining.code)
"""Why nothing is taken: the label of ``cpfd_shed``."""


class Permit:
    """The right to work on one request. Use as a context manager: leaving it gives the permit back, once."""

    def __init__(self, admission: Admission, reserved_bytes: int) -> None:
        self._admission = admission
        self._bytes = reserved_bytes
        self._held = True

    def settle(self, actual_bytes: int) -> None:
        """Lowers the reservation to what the body turned out to hold."""
        if self._held and actual_bytes < self._bytes:
            self._admission._change(0, actual_bytes - self._bytes)
            self._bytes = actual_bytes

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held:
            self._held = False
            self._admission._change(-1, -self._bytes)


class Admission:
    """Gives permits. Lives on the event loop: nothing here waits or locks.

    Args:
        settings: the bounds.
        parallelism: how many requests are worked on at the same time once admitted.
        refusal: why the service takes nothing at all now, or None.
        metrics: where it shows.
    """

    def __init__(
        self,
        settings: AdmissionSettings,
        parallelism: int,
        refusal: Callable[[], Draining | NotReady | None],
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._parallelism = parallelism
        self._refusal = refusal
        self._metrics = metrics
        for reason in SHED_REASONS:
            metrics.shed.labels(reason)
        self._work_s = 0.0
        self.requests = 0
        self.bytes = 0

    def admit(self, body_bytes: int) -> Permit:
        """A permit for a request of ``body_bytes``. Raises what ``check`` raises."""
        self.check(body_bytes)
        self._change(1, body_bytes)
        return Permit(self, body_bytes)

    def check(self, body_bytes: int) -> None:
        """Takes nothing.

        Raises:
            Draining, NotReady: nothing is taken now.
            Overloaded: over a bound. ``retry_after_s`` is the predicted time until the work in flight is done.
        """
        refusal = self._refusal()
        if refusal is not None:
            self._metrics.shed.labels(refusal.code).inc()
            raise refusal
        for reason, over in (
            ("requests", self.requests >= self._settings.max_requests),
            ("bytes", self.bytes + body_bytes > self._settings.max_bytes),
        ):
            if over:
                self._metrics.shed.labels(reason).inc()
                raise Overloaded(
                    "too much work in flight: send the request again after the seconds in Retry-After",
                    retry_after_s=self.retry_after_s(),
                )

    def observe(self, work_s: float) -> None:
        """Learns what one request costs: seconds of work, waits excluded."""
        self._work_s += (work_s - self._work_s) * (_SMOOTHING if self._work_s else 1.0)
        self._metrics.queue_seconds_of_work.set(self.seconds_of_work())

    def seconds_of_work(self) -> float:
        """Predicted seconds until everything now in flight is done; 0 before anything was measured."""
        return self.requests * self._work_s / self._parallelism

    def retry_after_s(self) -> int:
        """The same, in whole seconds from 1 to 120, spread a little so that callers do not return together."""
        return max(1, min(_MAX_RETRY_AFTER_S, math.ceil(self.seconds_of_work() * random.uniform(1.0, 1.25))))

    def _change(self, requests: int, body_bytes: int) -> None:
        self.requests += requests
        self.bytes += body_bytes
        self._metrics.inflight_requests.set(self.requests)
        self._metrics.inflight_bytes.set(self.bytes)
        self._metrics.queue_seconds_of_work.set(self.seconds_of_work())
