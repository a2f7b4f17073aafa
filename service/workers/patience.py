"""How long a process is left alone with a job: while it makes headway, and nobody else is kept waiting by it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from service.decoding.process import DecodeProcess
from service.workers.deaths import cpu_seconds, runnable
from service.workers.job import Job

_PACKET_CPU_S = 0.3
"""No packet takes so much CPU time: a look at 95,000 packets takes 0.14 s without a sign, pictures of 4K as much."""
_LOOK_S, _SOONEST_S = 0.05, 0.01
_LOOKS, _SILENT_LOOKS = 40, 10
"""Looks in a row at which a process has made no use of its core before it counts as stopped. (Looks, not seconds: this
process may have to wait for a core too, and must have read the answer first.) And at which one that yields has shown no
sign of life since its caller left: others who yield wait for it."""


class Patience:
    """Watches one job in its process.

    A healthy decode shows a sign of life between two packets, and looks there whether it is still wanted. One that has
    taken more CPU time since its last sign than a packet can, or takes none at all, is stuck in native code: its
    process is ended once nobody waits for it, or others wait for the process. (By CPU time, so that a process which has
    to wait for a core is neither ended nor blamed.)

    One that is stuck or takes far more than its price steps back, if somebody who waits can then start: they have its
    core from then on, and it has what they leave. It cannot come forward again (that takes privileges), so its process
    serves nobody after it.

    One that yields has what others leave from the beginning. Where they left it nothing, it is not to blame.

    Attributes:
        exhausted: it is stuck.
        stepped_back: its process has.
    """

    def __init__(self, process: DecodeProcess, job: Job[Any]) -> None:
        self._process = process
        self._job = job
        self._limit: asyncio.Timeout | None = None
        self._asleep = self._silent = 0
        self.exhausted = self.stepped_back = False
        self._began = time.monotonic()
        self._sign = process.signs_of_life()
        self._began_cpu_s = self._last_cpu_s = self._sign_cpu_s = cpu_seconds(process.pid)

    def watch(self, limit: asyncio.Timeout) -> None:
        """``limit`` ends the wait for the answer; it comes sooner if the process is stuck."""
        self._limit = limit
        self._job.done.add_done_callback(self._left)
        self._watch_again()

    def starved(self) -> bool:
        """Whether it yields, and was left less than half of a core."""
        took_s = self._last_cpu_s - self._began_cpu_s
        waits = self._job.yields and not self.exhausted and runnable(self._process.pid)
        return waits and took_s < (time.monotonic() - self._began) / 2

    def end(self) -> None:
        """There is an answer, or there will be none."""
        self._limit = None

    def _left(self, _: asyncio.Future[Any]) -> None:
        if self._limit is not None:
            self._process.stop(self._job.number)
            self._look()

    def _watch(self) -> None:
        if self._limit is not None:
            self._look()
            self._watch_again()

    def _watch_again(self) -> None:
        """In a moment, or as soon as one core can have used up the job's share."""
        share_left_s = self._job.fair_cpu_s - (self._last_cpu_s - self._began_cpu_s)
        wait_s = max(_SOONEST_S, share_left_s) if 0 < share_left_s < _LOOK_S else _LOOK_S
        asyncio.get_running_loop().call_later(wait_s, self._watch)

    def _look(self) -> None:
        assert self._limit is not None
        cpu_s, sign = cpu_seconds(self._process.pid), self._process.signs_of_life()
        self._silent += 1
        if sign != self._sign:
            self._sign, self._sign_cpu_s, self._silent = sign, cpu_s, 0
        self.exhausted = cpu_s - self._sign_cpu_s > _PACKET_CPU_S
        if self._job.done.done():
            at_work = cpu_s > self._last_cpu_s or runnable(self._process.pid)
            self._asleep = 0 if at_work else self._asleep + 1
            silent = self._job.yields and self._silent >= _SILENT_LOOKS
            over = self.exhausted or self.stepped_back or silent or self._asleep >= _LOOKS
        else:
            had_its_share = self.exhausted or cpu_s - self._began_cpu_s >= self._job.fair_cpu_s
            if had_its_share and not self.stepped_back and self._job.give_way():
                self.stepped_back = True
                self._process.step_back()
            over = self.exhausted and self._job.in_the_way()
        self._last_cpu_s = cpu_s
        if over:
            self._limit.reschedule(asyncio.get_running_loop().time())
            self.end()
