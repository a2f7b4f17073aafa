"""What is recorded of each request, and of the generator while it sends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from enum import StrEnum
from typing import Any

from pydantic import Field

from loadtest.frozen import Frozen

NO_ARM = "none"
UNSENT = "generator_full"
"""The code of a sample that the generator had no room to send."""


class Outcome(StrEnum):
    """What became of a request."""

    ANSWERED = "answered"
    """A verdict, as it should be."""
    REFUSED = "refused"
    """A typed problem for a clip that deserves one."""
    SHED = "shed"
    """Told to come back: 429, or 503 while draining or not ready."""
    FAILED = "failed"
    """Anything else: a wrong answer, an untyped error, no answer."""
    GONE = "gone"
    """The client left on purpose; nobody saw an answer."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One request.

    Attributes:
        at_s: when it was due, in seconds since the plan began.
        stage: index of the plan's stage that it was due in.
        kind: what was sent (``mix.Kind``).
        arm: who answered (``X-Arm``), or ``none``.
        outcome: what became of it.
        code: ``ok``, the problem's code, or what went wrong on the wire.
        status: of HTTP; 0 without an answer.
        latency_s: from when it was *due* to the last byte of the answer.
        late_s: how long after it was due the generator began to send it.
        retries: how often it was sent again to another host.
    """

    at_s: float
    stage: int
    kind: str
    arm: str
    outcome: Outcome
    code: str
    status: int
    latency_s: float
    late_s: float
    retries: int = 0

    @property
    def flight(self) -> tuple[float, float]:
        """When it was due, and when it was done."""
        return self.at_s, self.at_s + self.latency_s

    def row(self) -> list[Any]:
        """The fields in order, for JSON and for Locust's messages."""
        return [value.value if isinstance(value, StrEnum) else value for value in astuple(self)]

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Sample:
        """The inverse of ``row``."""
        at_s, stage, kind, arm, outcome, *rest = row
        return cls(at_s, stage, kind, arm, Outcome(outcome), *rest)


@dataclass(frozen=True, slots=True)
class Beat:
    """The generator's own pulse over about half a second.

    Attributes:
        at_s: seconds since the plan began.
        stage: index of the plan's stage.
        lag_s: the longest a short sleep overran: how late anything else ran, too.
        cpu_share: CPU time of this process over wall time; 1 is one core.
        in_flight: requests without an answer.
    """

    at_s: float
    stage: int
    lag_s: float
    cpu_share: float
    in_flight: int

    def row(self) -> list[Any]:
        """The fields in order."""
        return list(astuple(self))

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Beat:
        """The inverse of ``row``."""
        return cls(*row)


class Record(Frozen):
    """What a run left behind."""

    processes: int
    ended_s: float
    """How far the plan got: less than all of it if someone stopped it."""
    samples: list[list[Any]]
    beats: list[list[Any]]
    extended_s: dict[int, float] = Field(default_factory=dict)
    """Stage -> seconds that it took longer than was planned."""

    def read_samples(self) -> list[Sample]:
        """In order of their due time."""
        return sorted((Sample.from_row(row) for row in self.samples), key=lambda sample: sample.at_s)

    def read_beats(self) -> list[Beat]:
        """In order of time."""
        return sorted((Beat.from_row(row) for row in self.beats), key=lambda beat: beat.at_s)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of ``values`` do not exceed (nearest rank); nan if there are none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
