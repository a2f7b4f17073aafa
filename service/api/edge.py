"""The outermost layer around every request: its id, its log line, its metrics, and the last resort.

Pure ASGI on purpose: Starlette's BaseHTTPMiddleware hides ``http.disconnect`` from what it wraps.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problem import outcome_of, problem_response
from service.context import RequestContext, request_id_of
from service.errors import OperatorError
from service.logs import FIELDS
from service.metrics import NO_ARM, Metrics, route_label

log = logging.getLogger("service.requests")
_SILENT = frozenset({"/livez", "/readyz", "/metrics"})
_CLASSIFY = "/classify"
_COUNTED_FROM_ZERO = (
    "ok",
    "overloaded",
    "not_ready",
    "draining",
    "decoder_lost",
    "deadline_exceeded",
    "storage_exhausted",
    "log_unavailable",
    "inference_failed",
    "internal_error",
    "client_gone",
)
"""Codes that alerts read: every one that is answered, shed, failed or gone. Refusals are the caller's, and many."""


def context_of(scope: Scope) -> RequestContext:
    """The request's context, put into its scope by ``Edge``."""
    context: RequestContext = scope["cpfd.context"]
    return context


def count_from_zero(metrics: Metrics, arms: Iterable[str]) -> None:
    """Shows each arm's outcomes at 0 before the first request: ``increase()`` does not see a series' birth."""
    for arm in (NO_ARM, *arms):
        for code in _COUNTED_FROM_ZERO:
            if code != "ok" or arm != NO_ARM:
                metrics.requests.labels(_CLASSIFY, code, arm, outcome_of(code))
        metrics.requests.labels(
            _CLASSIFY, "deadline_exceeded", arm, outcome_of("deadline_exceeded", deadline_chosen=True)
        )


class Edge:
    """Wraps the whole app.

    Args:
        app: what it wraps.
        metrics: counts requests here, once.
        ended: told of each request that is over, and of its outcome.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        ended: Callable[[RequestContext, str], None] = lambda context, outcome: None,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = RequestContext(request_id_of(Headers(scope=scope).get("x-request-id")))
        scope["cpfd.context"] = context
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _mark(MutableHeaders(scope=message), context)
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except Exception as error:
            response = problem_response(error, context)
            log.exception("request failed", extra={FIELDS: {"request_id": context.request_id, "stage": context.stage}})
            if status == 0:
                await response(scope, receive, send_marked)
        finally:
            self._record(scope, context, status)

    def _record(self, scope: Scope, context: RequestContext, status: int) -> None:
        if status == 0 and context.code == "ok":  # cut off at the end of a drain
            context.code = "draining"
        route = route_label(scope["path"])
        outcome = outcome_of(context.code, deadline_chosen=context.deadline_chosen)
        self._metrics.requests.labels(route, context.code, context.arm, outcome).inc()
        self._ended(context, outcome)
        self._metrics.request_duration.labels(route).observe(context.elapsed_ms() / 1000)
        for stage, milliseconds in context.timings_ms.items():
            self._metrics.stage_duration.labels(stage).observe(milliseconds / 1000)
        if context.code == "client_gone":
            self._metrics.cancelled.labels(context.stage).inc()
        if route in _SILENT:
            return
        fields: dict[str, Any] = {
            "request_id": context.request_id,
            "decision_id": context.decision_id if context.arm != NO_ARM else None,
            "arm": context.arm,
            "bundle": context.bundle,
            "stage": context.stage,
            "code": context.code,
            "status": status,
            "duration_ms": context.elapsed_ms(),
            "route": route,
            "timings_ms": context.timings_ms,
        }
        log.info("request", extra={FIELDS: fields})


def _mark(headers: MutableHeaders, context: RequestContext) -> None:
    headers["X-Request-Id"] = context.request_id
    if context.arm != NO_ARM:
        headers["X-Arm"] = context.arm
    if context.timings_ms:
        headers["Server-Timing"] = ", ".join(f"{stage};dur={ms:.1f}" for stage, ms in context.timings_ms.items())


def log_operator_error(error: Exception, context: RequestContext) -> None:
    """An ERROR line for what the operator must act on; nothing for the rest."""
    if isinstance(error, OperatorError):
        fields = {"request_id": context.request_id, "arm": context.arm, "stage": context.stage, "code": error.code}
        log.error("the operator must act", extra={FIELDS: fields}, exc_info=error.__cause__)
