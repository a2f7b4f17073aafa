"""What is known of one request on its way: id, deadline, priority, stage, timings, arm."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.errors import DeadlineExceeded, InvalidField
from service.experiment.plan import Assignment
from service.experiment.watch.guardrails import Seen
from service.metrics import NO_ARM
from service.scheduling.policy import ASKED_FOR, Priority

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")
DEADLINE_HEADER = "X-Request-Timeout-Ms"
PRIORITY_HEADER = "X-Request-Priority"


def request_id_of(header: str | None) -> str:
    """The caller's id where it is 1 to 128 characters of ``A-Z a-z 0-9 . _ : -``, else a new one."""
    return header if header and _REQUEST_ID.fullmatch(header) else uuid.uuid4().hex


@dataclass(kw_only=True)
class Progress:
    """Where some work is, and how long each stage of it took.

    Attributes:
        stage: where it is now, for problems and logs.
        timings_ms: stage -> how long it took; stages that were left only.
        costs: what it used of something, under the names of the decision log: ``decode_cpu_s``, ``model_cpu_s``.
    """

    stage: str = "admission"
    timings_ms: dict[str, float] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    _entered: float | None = field(default=None, repr=False)

    def enter(self, stage: str) -> None:
        """Leaves the stage it is in, if any, and begins another."""
        self.leave()
        self.stage, self._entered = stage, time.monotonic()

    def leave(self) -> None:
        """Ends the stage it is in, if any."""
        if self._entered is not None:
            entered, self._entered = self._entered, None
            self.record(self.stage, time.monotonic() - entered)

    @contextmanager
    def in_stage(self, stage: str) -> Iterator[None]:
        """Names the stage and records its duration, also when it fails."""
        self.enter(stage)
        try:
            yield
        finally:
            self.leave()

    def record(self, stage: str, seconds: float) -> None:
        """Adds to a stage's time: one that is gone through again took both times."""
        self.timings_ms[stage] = round(self.timings_ms.get(stage, 0.0) + seconds * 1000, 3)

    def spend(self, name: str, amount: float) -> None:
        """Adds to a cost."""
        self.costs[name] = self.costs.get(name, 0.0) + amount

    def so_far(self) -> Mapping[str, float]:
        """Stage -> milliseconds until now, the stage it is in included."""
        if self._entered is None:
            return self.timings_ms
        running = (time.monotonic() - self._entered) * 1000
        return self.timings_ms | {self.stage: round(self.timings_ms.get(self.stage, 0.0) + running, 3)}


@dataclass
class RequestContext(Progress):
    """One request's state; owned by the task that serves it.

    Attributes:
        request_id: echoed in every answer.
        decision_id: made here, for one request only: what the decision log and the reply call it.
        started: monotonic seconds.
        deadline: monotonic seconds; set when the request is admitted.
        deadline_chosen: whether the caller asked for less time than the service gives by itself.
        peer: the caller's address, or network.
        priority: as the caller asked, or the lowest.
        forced_arm: that the caller chose, and was allowed to.
        arm, bundle: set by assignment.
        assignment, assigned: why that arm, and when, in monotonic seconds.
        shared: whether the work was begun for another request.
        after_reply: what is to be done once the answer is sent.
        seen: what guardrails read of it; None: it is part of no test.
        code: ``ok`` or the problem's code.
        body_read: set once nothing more of the body will come: from then on the connection may be watched.
    """

    request_id: str
    decision_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: float = field(default_factory=time.monotonic)
    deadline: float = float("inf")
    deadline_chosen: bool = False
    peer: str = ""
    priority: Priority = Priority.INTERACTIVE
    forced_arm: str | None = None
    arm: str = NO_ARM
    bundle: str | None = None
    assignment: Assignment | None = None
    assigned: float = 0.0
    shared: bool = False
    after_reply: Callable[[], None] | None = None
    seen: Seen | None = None
    code: str = "ok"
    body_read: asyncio.Event = field(default_factory=asyncio.Event)

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
    return DeadlineExceeded(f"the request's time is over: send it again, or allow more in {DEADLINE_HEADER}")


def allowed_ms(header: str | None, default_ms: int, min_ms: int, max_ms: int) -> int:
    """The milliseconds that ``X-Request-Timeout-Ms`` asks for, at most ``max_ms``; the default without it.

    Raises:
        InvalidField: the header is not a whole number of milliseconds, or too few of them.
    """
    if header is None:
        return min(default_ms, max_ms)
    if not (header.isascii() and header.isdecimal() and len(header) <= 9 and int(header) >= min_ms):
        raise InvalidField(f"{DEADLINE_HEADER} must be a whole number of milliseconds, at least {min_ms}")
    return min(int(header), max_ms)


def priority_of(header: str | None) -> Priority:
    """The priority that ``X-Request-Priority`` asks for; interactive without it.

    Raises:
        InvalidField: there is no such priority.
    """
    if header is None:
        return Priority.INTERACTIVE
    asked = header.strip().lower()
    found = next((priority for priority in ASKED_FOR if priority == asked), None)
    if found is None:
        raise InvalidField(f"{PRIORITY_HEADER} must be one of {', '.join(ASKED_FOR)}")
    return found
