"""What is known of one request on its way: id, deadline, stage, timings, arm."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.errors import DeadlineExceeded, InvalidField
from service.metrics import NO_ARM

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")


def request_id_of(header: str | None) -> str:
    """The caller's id where it is 1 to 128 characters of ``A-Z a-z 0-9 . _ : -``, else a new one."""
    return header if header and _REQUEST_ID.fullmatch(header) else uuid.uuid4().hex


@dataclass
class RequestContext:
    """One request's state; owned by the task that serves it.

    Attributes:
        request_id: echoed in every answer.
        started: monotonic seconds.
        deadline: monotonic seconds; set when the request is admitted.
        stage: where it is now, for problems and logs.
        timings_ms: stage -> how long it took.
        arm, bundle: set by assignment.
        code: ``ok`` or the problem's code.
        body_read: set once nothing more of the body will come: from then on the connection may be watched.
    """

    request_id: str
    started: float = field(default_factory=time.monotonic)
    deadline: float = float("inf")
    stage: str = "admission"
    timings_ms: dict[str, float] = field(default_factory=dict)
    arm: str = NO_ARM
    bundle: str | None = None
    code: str = "ok"
    body_read: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def in_stage(self, stage: str) -> Iterator[None]:
        """Names the stage and records its duration, also when it fails."""
        self.stage, began = stage, time.monotonic()
        try:
            yield
        finally:
            self.record(stage, time.monotonic() - began)

    def record(self, stage: str, seconds: float) -> None:
        self.timings_ms[stage] = round(self.timings_ms.get(stage, 0.0) + seconds * 1000, 3)

    def remaining_s(self) -> float:
        """Seconds to the deadline.

        Raises:
            DeadlineExceeded: none are left.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise deadline_exceeded()
        return left

    def elapsed_ms(self) -> float:
        return round((time.monotonic() - self.started) * 1000, 3)


def deadline_exceeded() -> DeadlineExceeded:
    return DeadlineExceeded("the request's time is over: send it again, or allow more in X-Request-Timeout-Ms")


def deadline_of(header: str | None, started: float, default_ms: int, max_ms: int) -> float:
    """The deadline in monotonic seconds that ``X-Request-Timeout-Ms`` asks for, within bounds.

    Raises:
        InvalidField: the header is not a positive whole number.
    """
    asked = default_ms
    if header is not None:
        if not (header.isascii() and header.isdecimal() and len(header) <= 9 and int(header) > 0):
            raise InvalidField("X-Request-Timeout-Ms must be a positive whole number of milliseconds")
        asked = int(header)
    return started + min(asked, max_ms) / 1000
