"""What one run is: handed to every Locust process as a file, so that no two disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from loadtest.mix import DEFAULT_WEIGHTS, Kind
from loadtest.samples import Beat, Sample
from loadtest.shapes import Plan


class RunFile(BaseModel):
    """Where to send, what, when, and where the record goes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, arbitrary_types_allowed=True)

    hosts: tuple[str, ...] = Field(min_length=1)
    """Base URLs; more than one are taken in turn."""
    corpus: Path
    """Directory of the clips."""
    plan: dict[str, Any]
    """``Plan.to_json``."""
    record: Path
    """Where the samples are written, by the master or the only process."""
    weights: dict[Kind, float] = Field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    """Of the kinds of message."""
    ids_by_arm: dict[str, list[str]] = Field(default_factory=dict)
    """Ids known to stick to each arm; needed where the plan steers shares."""
    timeout_s: float = Field(default=30.0, gt=0)
    """How long a socket may be silent; also how long the end waits for the last answers."""
    max_in_flight: int = Field(default=1000, ge=1)
    """For each process; what is due beyond it is not sent, and counted."""
    sources: int = Field(default=20, ge=1)
    """Locust users: equal Poisson processes that add up to the plan's rate. At least one for each worker."""
    seed: int | None = None
    """Of the mix and of the arrivals; None: another one each time. Each worker draws streams of its own from it."""

    @property
    def the_plan(self) -> Plan:
        """``plan``, read."""
        return Plan.from_json(self.plan)


class Record(BaseModel):
    """What a run left behind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processes: int
    ended_s: float
    """How far the plan got: less than all of it if someone stopped it."""
    samples: list[list[Any]]
    beats: list[list[Any]]

    def read_samples(self) -> list[Sample]:
        """In order of their due time."""
        return sorted((Sample.from_row(row) for row in self.samples), key=lambda sample: sample.at_s)

    def read_beats(self) -> list[Beat]:
        """In order of time."""
        return sorted((Beat.from_row(row) for row in self.beats), key=lambda beat: beat.at_s)
