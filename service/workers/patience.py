"""How a job that nobody waits for any more is ended: between two packets, and the process only if it is stuck."""

from __future__ import annotations

import asyncio
from typing import Any

from service.stages.decode_process import DecodeProcess
from service.workers.deaths import cpu_seconds, runnable
from service.workers.job import Job

_PACKET_CPU_S = 0.25
"""No packet takes so much CPU time."""
_LOOK_S = 0.1
_LOOKS = 20
"""Looks in a row at which a process has made no use of its core before it counts as stopped. (Looks, not seconds: this
process may have to wait for a core too, and must have read the answer first.)"""


class Patience:
    """Stops a job that nobody waits for any more, and gives its process the time to notice.

    A healthy decode looks up between two packets. One that takes more CPU time than a packet can and did not look up,
    or that takes none at all, is stuck in native code: its process is ended. (By CPU time, so that a process which has
    to wait for a core is neither ended nor blamed.)
    """

    def __init__(self, process: DecodeProcess, job: Job[Any]) -> None:
        self._process = process
        self._job = job
        self._limit: asyncio.Timeout | None = None
        self._left_cpu_s = self._last_cpu_s = 0.0
        self._asleep = 0
        self.exhausted = False

    def watch(self, limit: asyncio.Timeout) -> None:
        """``limit`` ends the wait for the answer; it comes sooner if the process is stuck."""
        self._limit = limit
        self._job.done.add_done_callback(self._left)

    def end(self) -> None:
        """There is an answer, or there will be none."""
        self._limit = None

    def _left(self, _: asyncio.Future[Any]) -> None:
        if self._limit is not None:
            self._process.stop(self._job.number)
            self._left_cpu_s = self._last_cpu_s = cpu_seconds(self._process.pid)
            asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        if self._limit is None:
            return
        loop, cpu_s = asyncio.get_running_loop(), cpu_seconds(self._process.pid)
        at_work = cpu_s > self._last_cpu_s or runnable(self._process.pid)
        self._asleep, self._last_cpu_s = 0 if at_work else self._asleep + 1, cpu_s
        self.exhausted = cpu_s - self._left_cpu_s > _PACKET_CPU_S
        if self.exhausted or self._asleep >= _LOOKS:
            self._limit.reschedule(loop.time())
        else:
            loop.call_later(_LOOK_S, self._look)
