"""How processes that clips have ended are replaced: at a pace, and before the clips are answered.

A start costs as much as a small clip. Who sends nothing but clips that crash must not take cores and processes from
the others that way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from service.stages.outcome import fail
from service.workers.job import Job

_PACE_S = 0.2
_LOOK_S = 0.05


class Mending:
    """What is owed to clips that ended a process, and when the next process may be started for one.

    Args:
        enough: tells whether enough other processes are alive.
    """

    def __init__(self, enough: Callable[[], bool]) -> None:
        self._enough = enough
        self._due = 0.0
        self._waiting = 0
        self._owed: dict[int, tuple[Job[Any], Exception]] = {}

    def owe(self, index: int, job: Job[Any], error: Exception) -> None:
        """The clip is answered once the process it ended is replaced.

        Who waits for what he breaks to be mended cannot have more broken than he has requests in flight.

        Args:
            index: of the process.
            job: that ended it.
            error: its answer.
        """
        self._owed[index] = job, error

    def pay(self, index: int) -> None:
        """The process is replaced, or cannot be."""
        if index in self._owed:
            job, error = self._owed.pop(index)
            fail(job.done, error)

    def pay_all(self) -> None:
        for index in list(self._owed):
            self.pay(index)

    async def turn(self) -> None:
        """Returns when the next process may be started: five a second, as long as enough others are alive."""
        loop = asyncio.get_running_loop()
        # Turns that nobody waited for, as too few were alive, are no debt of those that come now.
        self._due = max(loop.time(), min(self._due, loop.time() + self._waiting * _PACE_S) + _PACE_S)
        due = self._due
        self._waiting += 1
        try:
            while loop.time() < due and self._enough():  # noqa: ASYNC110  no event tells of every death
                await asyncio.sleep(_LOOK_S)
        finally:
            self._waiting -= 1
