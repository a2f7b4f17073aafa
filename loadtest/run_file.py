"""What one run is: handed to every Locust process as a file, so that no two disagree."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from loadtest.frozen import Frozen
from loadtest.shapes import Plan
from loadtest.target.exchange import TIMEOUT_S
from loadtest.traffic.mix import DEFAULT_WEIGHTS, Kind


class RunFile(Frozen):
    """Where to send, what, when, and where the record goes."""

    hosts: tuple[str, ...] = Field(min_length=1)
    """Base URLs; more than one are taken in turn."""
    corpus: Path
    """Directory of the clips."""
    plan: Plan
    """How much is sent when."""
    record: Path
    """Where the samples are written, by the master or the only process."""
    weights: dict[Kind, float] = Field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    """Of the kinds of message."""
    ids_by_arm: dict[str, list[str]] = Field(default_factory=dict)
    """Ids known to stick to each arm; needed where the plan steers shares."""
    timeout_s: float = Field(default=TIMEOUT_S, gt=0)
    """How long a socket may be silent; also how long the end waits for the last answers."""
    max_in_flight: int = Field(default=1000, ge=1)
    """For each process; what is due beyond it is not sent, and counted."""
    sources: int = Field(default=20, ge=1)
    """Locust users: equal Poisson processes that add up to the plan's rate. At least one for each worker."""
    extend_s: float = Field(default=0.0, ge=0)
    """How much longer the stages may take, all together, until it is decided whether their queue grows."""
    seed: int | None = None
    """Of the mix and of the arrivals; None: another one each time. Each worker draws streams of its own from it."""
