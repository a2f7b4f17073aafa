"""Admission: a bounded number of requests and bytes in flight, whatever they will cost; the rest is told when to come
back. What they cost is the backlog's matter (``service.scheduling.backlog``)."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from service.cores import available_cores
from service.errors import Draining, NotReady, Overloaded
from service.metrics import Metrics
from service.scheduling.bounds import most_requests, open_files
from service.settings import AdmissionSettings

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
        refusal: why the service takes nothing at all now, or None.
        overloaded: the refusal of a request of which nothing is known yet, with its Retry-After.
        metrics: where it shows.
    """

    def __init__(
        self,
        settings: AdmissionSettings,
        refusal: Callable[[], Draining | NotReady | None],
        overloaded: Callable[[], Overloaded],
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._refusal = refusal
        self._overloaded = overloaded
        self._metrics = metrics
        self.max_requests = settings.max_requests or most_requests(available_cores(), open_files())
        for reason in SHED_REASONS:
            metrics.shed.labels(reason)
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
            Overloaded: over a bound. ``retry_after_s`` is the predicted time until the accepted work is done.
        """
        refusal = self._refusal()
        if refusal is not None:
            self._metrics.shed.labels(refusal.code).inc()
            raise refusal
        for reason, over in (
            ("requests", self.requests >= self.max_requests),
            ("bytes", self.bytes + body_bytes > self._settings.max_bytes),
        ):
            if over:
                self._metrics.shed.labels(reason).inc()
                raise self._overloaded()

    def _change(self, requests: int, body_bytes: int) -> None:
        self.requests += requests
        self.bytes += body_bytes
        self._metrics.inflight_requests.set(self.requests)
        self._metrics.inflight_bytes.set(self.bytes)
