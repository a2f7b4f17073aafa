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
from collections.abc import Callable, Sequence
from typing import Protocol

from service.logs import FIELDS
from service.sandbox.protections import Protection
from service.settings import DecodeSettings
from service.stages.decode_nursery import LOADED, MAX_REQUEST

log = logging.getLogger(__name__)
WORN_AFTER = 8
"""Deaths by clips. Copies of one process have one layout in memory, and one secret against overwritten stacks: who may
crash one after the other learns a little of them each time. Eight tell him no byte."""


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
        command: what starts it, less the number of its socket.
        environment: all that it gets, and its copies.
        hidden: whether the memory of its copies is to be closed to others.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], *, hidden: bool) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with theirs:
            # On the loop's own thread, as a worker is: what it forks dies with the thread that started it.
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), "hidden" if hidden else "open"],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                process_group=0,
            )
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
        loop, line = asyncio.get_running_loop(), b""
        while not line.endswith(b"\n"):
            try:
                more = await loop.sock_recv(self._socket, MAX_REQUEST)
            except OSError:
                raise TemplateLost from None
            if not more:
                raise TemplateLost
            line += more
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
        command: what starts a nursery, less its last two arguments.
        environment: all that it gets, and its copies.
    """

    def __init__(self, settings: DecodeSettings, command: Sequence[str], environment: dict[str, str]) -> None:
        hidden = Protection.HIDDEN not in settings.sandbox.omitted
        self._launch: Callable[[], _Nursery] = lambda: _Nursery(command, environment, hidden=hidden)
        self._patience_s = settings.start_seconds
        self._nursery: _Nursery | None = None
        self._next: _Nursery | None = None
        self._deaths = 0
        self._turn = asyncio.Lock()
        self._told = False
        self._background: set[asyncio.Task[None]] = set()

    async def fork(self, arguments: Sequence[str], descriptors: Sequence[int]) -> Forked:
        """A new worker, not ready yet.

        Args:
            arguments: as ``decode_worker.work`` takes them.
            descriptors: of its socket, its slot, and what takes its first words; they stay the caller's.

        Raises:
            TemplateLost: it must be started in another way. The next one may come from here again.
        """
        async with self._turn:
            self._renew()
            nursery = self._nursery = self._nursery or self._launch()
            try:
                async with asyncio.timeout(self._patience_s):
                    return await nursery.fork(arguments, descriptors)
            except (TemplateLost, TimeoutError):
                self._nursery = None
                self._bury(nursery)
                if not self._told:
                    self._told = True
                    said = "decode workers are started one by one: the process that they are forked from is lost"
                    log.warning(said, extra={FIELDS: {"stage": "decode"}})
                raise TemplateLost from None

    def blame(self) -> None:
        """A clip has ended one of the copies."""
        self._deaths += 1
        if self._deaths >= WORN_AFTER and self._next is None and self._nursery is not None:
            self._next = self._launch()

    async def close(self) -> None:
        """Ends what copies are made from; the copies live on."""
        for nursery in (self._nursery, self._next):
            if nursery is not None:
                self._bury(nursery)
        self._nursery = self._next = None
        await asyncio.gather(*self._background)

    def _renew(self) -> None:
        """The next nursery takes over, once it has loaded."""
        if self._next is not None and self._next.loaded.done():
            old, self._nursery, self._next, self._deaths = self._nursery, self._next, None, 0
            if old is not None:
                self._bury(old)

    def _bury(self, nursery: _Nursery) -> None:
        task = asyncio.create_task(nursery.end())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
