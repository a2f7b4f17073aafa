"""Log lines as the service writes them, made by its own code: what the runbook's filters must find."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from service.api.edge import Edge, context_of, log_operator_error
from service.api.problem import problem_response
from service.errors import DeadlineExceeded, InferenceFailed, Quarantined, ServiceError
from service.logs import FIELDS, JsonLines
from service.metrics import Metrics

PROBE_LINES = 40
"""Harmless lines after those that matter: more than kubectl shows of a pod unless it is told."""
MESSAGES = {
    "decode worker did not start": {"stage": "decode", "cause": "MemoryError"},
    "micro-batcher restarted": {"arm": "student", "stage": "queue"},
    "arm stopped": {"experiment": "e", "arm": "student", "guardrail": "p99", "cause": "late", "pod": "p"},
    "the stop file cannot be used": {"cause": "not a stop file"},
    "a shadow failed": {"arm": "student", "decision_id": "0" * 32},
    "the decision log cannot be written": {"stage": "log", "cause": "database or disk is full"},
}
"""Errors that only a broken service writes; test_runbook.py checks that it does write them."""


class Kept(logging.Handler):
    """Keeps every record as the line that it becomes."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def kept() -> Iterator[list[str]]:
    """The lines that are logged inside."""
    handler, root = Kept(), logging.getLogger("service")
    level, root.level = root.level, logging.INFO
    root.addHandler(handler)
    try:
        yield handler.lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


async def _request(error: ServiceError | None) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if error is None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            return
        context = context_of(scope)
        context.stage = "decode_wait"
        log_operator_error(error, context)
        await problem_response(error, context)(scope, receive, send)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        return

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/classify", "headers": []}
    await Edge(app, Metrics())(scope, receive, send)


def made() -> list[str]:
    """A pod's log: a line that is not JSON, one of each failure, and then only good requests."""
    log = logging.getLogger("service")
    with kept() as lines:
        lines.append("cpfd: a line that is not JSON, as a start that fails writes it")
        for message, fields in MESSAGES.items():
            try:
                raise MemoryError
            except MemoryError:
                log.exception(message, extra={FIELDS: fields})
        for error in (DeadlineExceeded("late"), InferenceFailed("broken"), Quarantined("again")):
            asyncio.run(_request(error))
        for _ in range(PROBE_LINES):
            asyncio.run(_request(None))
        return list(lines)
