"""One decode worker seen from the service: start it, give it a job, end it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import mmap
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from contract.input_spec import InputSpec
from contract.video import DecodeLimits
from service.cores import LAST
from service.decoding.lines import MAX_LINE, read_line
from service.decoding.start import start
from service.decoding.template import Child, Template, TemplateLost
from service.decoding.worker import SIGN_BYTES, STOP_BYTES, TAIL_BYTES
from service.sandbox.slot import sealed_slot, unnamed_memory
from service.settings import DecodeSettings

NEVER_STOPPED = (1 << 8 * STOP_BYTES) - 1
"""The number of a job that is never stopped."""


class WorkerDied(Exception):
    """The worker's process ended, or said something that no worker says."""


def message(task: Literal["cost", "decode"], number: int, spec: InputSpec, limits: DecodeLimits) -> dict[str, Any]:
    """What a worker is asked.

    Args:
        task: what a clip will cost, or its frames.
        number: by which it may be stopped.
        spec: which frames.
        limits: what the clip may cost.
    """
    return {
        "task": task,
        "number": number,
        "spec": spec.model_dump(mode="json"),
        "limits": limits.model_dump(mode="json"),
    }


class DecodeProcess:
    """A worker process, its socket and its slot of shared memory, which this side owns.

    Args:
        settings: the bounds it runs under.
        slot_bytes: the largest frames array that any arm asks for.
        spool: the directory of the clips' files; None: the system's temporary directory.
        template: what it is forked from, when ``ready`` is awaited; None: it is started from nothing, at once.

    Attributes:
        protections: once it is ready: protection -> why it runs without it, None where it is in force.
    """

    def __init__(
        self, settings: DecodeSettings, slot_bytes: int, spool: Path | None = None, template: Template | None = None
    ) -> None:
        self.protections: dict[str, str | None] = {}
        self._slot_bytes = slot_bytes
        self._arguments = [
            settings.limits.backend.value,
            str(slot_bytes),
            str(settings.memory_bytes),
            str(settings.cpu_seconds),
            settings.sandbox.model_dump_json(),
            str(spool or tempfile.gettempdir()),
        ]
        self._child: Child | None = None
        self._birth: asyncio.Task[Child] | None = None
        self._ended = False
        self._meet()
        if template is None:
            self._child = self._started()
            self._handed_over()
        else:
            self._birth = asyncio.create_task(self._forked(template))

    def _meet(self) -> None:
        """Makes what the two sides share: the socket, the slot, and what takes the worker's first words."""
        self._socket, self._theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._words = unnamed_memory("words")
        self._slot_file = sealed_slot(self._slot_bytes + TAIL_BYTES)
        self._slot = mmap.mmap(self._slot_file.fileno(), self._slot_bytes + TAIL_BYTES)

    def _part(self) -> None:
        self._socket.close()
        self._slot.close()
        self._words.close()

    async def _forked(self, template: Template) -> Child:
        files = [self._theirs.fileno(), self._slot_file.fileno(), self._words.fileno()]
        try:
            return await template.fork(self._arguments, files)
        except TemplateLost:
            self._handed_over()
            if self._ended:
                raise WorkerDied from None
            # All anew: a copy may have been made all the same, and two workers on one socket would answer for each
            # other. That one finds nobody at the other end, and ends.
            self._part()
            self._meet()
            return self._started()
        finally:
            self._handed_over()

    def _started(self) -> Child:
        return start("worker", (self._theirs.fileno(), self._slot_file.fileno()), self._arguments, self._words)

    def _handed_over(self) -> None:
        self._theirs.close()
        self._slot_file.close()

    @property
    def pid(self) -> int:
        """Once it is ready, or was started from nothing."""
        assert self._child is not None
        return self._child.pid

    async def ready(self) -> None:
        """Waits for the first word. Raises WorkerDied."""
        if self._birth is not None:
            self._child = await asyncio.shield(self._birth)
        answer = await self._answer()
        if answer.get("ready") is not True:
            raise WorkerDied
        self.protections = dict(answer["protections"])

    async def decode(self, descriptor: int, spec: InputSpec, limits: DecodeLimits) -> dict[str, Any]:
        """The answer to a decode that nobody will stop. Raises WorkerDied."""
        return await self.ask(message("decode", NEVER_STOPPED, spec, limits), descriptor)

    async def ask(self, job: dict[str, Any], descriptor: int) -> dict[str, Any]:
        """The worker's answer (see ``worker``); a decode's frames are then in the slot. Raises WorkerDied."""
        # Opened anew, for reading: the worker can neither change the upload nor move the offset of anybody else's.
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # One small message a job on an idle socket: it always fits the buffer.
            socket.send_fds(self._socket, [json.dumps(job).encode() + b"\n"], [own])
        except OSError:
            raise WorkerDied from None
        finally:
            os.close(own)
        return await self._answer()

    def stop(self, number: int) -> None:
        """The job of this number is wanted no more: the worker ends it at the next packet."""
        if not self._slot.closed:
            self._slot[-STOP_BYTES:] = number.to_bytes(STOP_BYTES, sys.byteorder)

    def signs_of_life(self) -> bytes:
        """Something that differs whenever the worker has come to its next packet. (It may lie: then it is only bounded
        as a decode is that takes long.)"""
        return b"" if self._slot.closed else self._slot[-TAIL_BYTES:][:SIGN_BYTES]

    def step_back(self, *, idle: bool = False) -> None:
        """Its threads go after all others, for the rest of its life.

        Args:
            idle: they have nothing but what all others leave of the cores. (Niceness alone would still be one part in
                twenty-four of a core beside another worker.)
        """
        with contextlib.suppress(OSError):  # it has ended
            for thread in Path(f"/proc/{self.pid}/task").iterdir():
                with contextlib.suppress(OSError):  # so has this one, or it may not be touched: other bounds hold
                    os.setpriority(os.PRIO_PROCESS, int(thread.name), LAST)
                    if idle:
                        os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))

    def frames(self, spec: InputSpec) -> NDArray[np.uint8]:
        """A copy of what the slot holds, (T, S, S, 3) uint8."""
        count = math.prod(spec.frames_shape)
        return np.frombuffer(self._slot, np.uint8, count=count).reshape(spec.frames_shape).copy()

    async def _answer(self) -> dict[str, Any]:
        line = await read_line(self._socket)
        if line is None:
            raise WorkerDied
        try:
            answer = json.loads(line)
        except ValueError:
            raise WorkerDied from None
        if not isinstance(answer, dict):
            raise WorkerDied
        return answer

    def last_words(self) -> str:
        """The last line it wrote before it was confined: why it did not start. It has seen no clip by then."""
        self._words.seek(0)
        lines = self._words.read(MAX_LINE).decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:200] if lines else "none"

    @property
    def exit_code(self) -> int | None:
        """None while it lives; below 0: the signal that ended it."""
        return None if self._child is None else self._child.poll()

    async def end(self) -> None:
        """Kills it, reaps it, frees the slot."""
        self._ended = True
        if self._birth is not None:
            with contextlib.suppress(OSError, WorkerDied):  # there is none
                self._child = await self._birth
        if self._child is not None:
            self._child.kill()
        self._socket.close()
        if self._child is not None:
            await asyncio.to_thread(self._child.wait)
        self._part()
