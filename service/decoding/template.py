"""Decode workers by fork, seen from the service: a process that has loaded everything is asked for copies of itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence
from typing import Protocol

from service.decoding.lines import read_line
from service.decoding.nursery import LOADED
from service.decoding.start import start
from service.logs import FIELDS
from service.sandbox.protections import Protection
from service.settings import DecodeSettings

log = logging.getLogger(__name__)
WORN_AFTER = 8
"""Deaths by clips. Copies of one process have one layout in memory, and one secret against overwritten stacks: who may
crash one after the other learns a little of them each time. Eight tell him no byte."""
_HOPELESS_AFTER = 5
"""Failures in a row: a system on which no process can be forked so is not asked for ever."""
_SHARE_OF_A_START = 1 / 3
"""Of what a start may take: the rest is left for another way."""
_LOST = "a decode worker is started from nothing: the process that it should be forked from is lost"
_LOST_FOR_GOOD = "decode workers are started from nothing from now on: none can be forked"
_NOT_RENEWED = "what decode workers are forked from could not be renewed"


class Child(Protocol):
    """A process of ours, as ``subprocess.Popen`` is one."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def kill(self) -> None: ...
    def wait(self) -> int: ...


class TemplateLost(Exception):
    """It gives no copies: it did not start, has ended, or says nothing."""


class Forked:
    """A child that another process forked for us. Its methods are those of ``subprocess.Popen``, from any thread.

    Args:
        pid: of the child, which must not have been waited for.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None
        self._reaping = threading.Lock()

    def poll(self) -> int | None:
        """None while it lives; below 0: the signal that ended it."""
        with self._reaping:
            if self._code is None:
                try:
                    found, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:  # somebody else has waited for it
                    found, status = self.pid, signal.SIGKILL
                if found:
                    self._code = os.waitstatus_to_exitcode(status)
            return self._code

    def kill(self) -> None:
        """Ends it, unless it has ended."""
        with self._reaping:  # its number is its own until it is reaped
            if self._code is None:
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Blocks until it has ended; how it did."""
        while (code := self.poll()) is None:
            with contextlib.suppress(ChildProcessError):  # reaped meanwhile
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        return code


class _Nursery:
    """A running one.

    Args:
        settings: of the pool.
    """

    def __init__(self, settings: DecodeSettings) -> None:
        shown = "open" if Protection.HIDDEN in settings.sandbox.omitted else "hidden"
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with theirs:
            arguments = (settings.limits.backend.value, shown)
            self._process = start("nursery", (theirs.fileno(),), arguments, subprocess.DEVNULL)
        self.loaded = asyncio.create_task(self._load(), name="decode-nursery")

    async def _load(self) -> None:
        if await self._line() != LOADED:
            raise TemplateLost

    async def fork(self, arguments: Sequence[str], descriptors: Sequence[int]) -> Forked:
        await asyncio.shield(self.loaded)
        try:
            socket.send_fds(self._socket, [json.dumps(arguments).encode() + b"\n"], descriptors)
            return Forked(int(json.loads(await self._line())["pid"]))
        except (OSError, ValueError, KeyError, TypeError):
            raise TemplateLost from None

    async def _line(self) -> bytes:
        line = await read_line(self._socket)
        if line is None:
            raise TemplateLost
        return line

    async def end(self) -> None:
        self._process.kill()
        self.loaded.cancel()
        await asyncio.gather(self.loaded, return_exceptions=True)
        self._socket.close()
        await asyncio.to_thread(self._process.wait)


class Template:
    """Where a pool's workers come from. It is renewed once clips have ended so many of its copies, behind the scenes.

    Args:
        settings: of the pool.
    """

    def __init__(self, settings: DecodeSettings) -> None:
        self._settings = settings
        self._patience_s = settings.start_seconds * _SHARE_OF_A_START
        self._nursery: _Nursery | None = None
        self._next: _Nursery | None = None
        self._deaths = self._failures = 0
        self._turn = asyncio.Lock()
        self._closed = False
        self._background: set[asyncio.Task[None]] = set()

    async def fork(self, arguments: Sequence[str], descriptors: Sequence[int]) -> Forked:
        """A new worker, not ready yet.

        Args:
            arguments: as ``worker.work`` takes them.
            descriptors: of its socket, its slot, and what takes its first words; they stay the caller's.

        Raises:
            TemplateLost: it must be started in another way. The next one may come from here again.
        """
        if self._failures >= _HOPELESS_AFTER:
            raise TemplateLost
        nursery: _Nursery | None = None
        try:
            async with asyncio.timeout(self._patience_s), self._turn:
                if self._closed:
                    raise TemplateLost
                self._renew()
                nursery = self._nursery = self._nursery or _Nursery(self._settings)
                forked = await nursery.fork(arguments, descriptors)
        except (TemplateLost, TimeoutError, OSError) as error:
            if nursery is not None and not self._closed:
                self._lost(nursery, error)
            raise TemplateLost from None
        self._failures = 0
        return forked

    def blame(self) -> None:
        """A clip has ended one of the copies."""
        self._deaths += 1
        if self._deaths >= WORN_AFTER and self._next is None and self._nursery is not None:
            try:
                self._next = _Nursery(self._settings)
            except OSError as error:  # the next death tries again
                log.warning(_NOT_RENEWED, extra={FIELDS: {"stage": "decode", "cause": str(error)}})

    async def close(self) -> None:
        """Ends what copies are made from; the copies live on."""
        self._closed = True
        for nursery in (self._nursery, self._next):
            if nursery is not None:
                self._bury(nursery)
        self._nursery = self._next = None
        await asyncio.gather(*self._background)

    def _lost(self, nursery: _Nursery, error: Exception) -> None:
        if self._nursery is nursery:
            self._nursery = None
        self._bury(nursery)
        self._failures += 1
        fields = {"stage": "decode", "cause": type(error).__name__, "in_a_row": self._failures}
        log.warning(_LOST_FOR_GOOD if self._failures >= _HOPELESS_AFTER else _LOST, extra={FIELDS: fields})

    def _renew(self) -> None:
        """The next nursery takes over, once it has loaded."""
        if self._next is None or not self._next.loaded.done():
            return
        following, self._next = self._next, None
        if following.loaded.exception() is not None:  # the next death tries again
            self._bury(following)
            log.warning(_NOT_RENEWED, extra={FIELDS: {"stage": "decode", "cause": "it did not load"}})
            return
        old, self._nursery, self._deaths = self._nursery, following, 0
        if old is not None:
            self._bury(old)

    def _bury(self, nursery: _Nursery) -> None:
        task = asyncio.create_task(nursery.end())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
