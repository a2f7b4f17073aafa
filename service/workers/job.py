"""What a worker process is asked, and whoever waits for the answer."""

from __future__ import annotations

import asyncio
import itertools
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, Literal, TypeVar

from contract.input_spec import InputSpec
from contract.video import DecodeLimits
from service.decoding.process import DecodeProcess, message

T = TypeVar("T")
_numbers = itertools.count(1)


class Job(ABC, Generic[T]):
    """One question about one clip. Its future is resolved once, whatever happens to the worker.

    Args:
        descriptor: the clip's open file.
        digest: SHA-256 of the clip, to know it again.
        spec: which frames.
        limits: what the clip may cost.
        limit_s: a worker that takes longer is ended.

    Attributes:
        fair_cpu_s: CPU seconds after which others who wait go first.
        cpu_s: CPU seconds that workers say they spent on it.
    """

    task: ClassVar[Literal["cost", "decode"]]
    fair_cpu_s: float

    def __init__(self, descriptor: int, digest: str, spec: InputSpec, limits: DecodeLimits, limit_s: float) -> None:
        self.descriptor = descriptor
        self.digest = digest
        self.spec = spec
        self.limits = limits
        self.limit_s = limit_s
        self.number = next(_numbers)
        self.lost_workers = 0
        self.cpu_s = 0.0
        self.done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def message(self) -> dict[str, Any]:
        """What the worker is sent; see ``service.decoding.worker``."""
        return message(self.task, self.number, self.spec, self.limits)

    @abstractmethod
    def read(self, answer: dict[str, Any], process: DecodeProcess) -> T | None:
        """The answer's value; None where a worker says no such thing."""

    @abstractmethod
    def put_back(self) -> None:
        """No worker has it any more, through no fault of its own: it waits again, where it waited before."""

    @property
    def yields(self) -> bool:
        """Whether its process has nothing but what all others leave of the cores."""
        return False

    @abstractmethod
    def give_way(self) -> bool:
        """It has had its fair share. Whether others wait, who are then let in beside it."""

    @abstractmethod
    def in_the_way(self) -> bool:
        """Whether others have to wait for its process."""

    @abstractmethod
    def ended(self, seconds: float, *, whole: bool, stuck: bool = False) -> None:
        """A worker is done with it.

        Args:
            seconds: what it took.
            whole: whether it came to its end.
            stuck: whether it had stopped making headway: then ``seconds`` tell nothing of what it takes.
        """
