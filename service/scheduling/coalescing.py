"""Equal requests in flight -> one piece of work.

The work belongs to none of its callers: each waits for it under his own deadline and may leave; it goes on while one
is left, and is cancelled with the last. So whoever came first hands over to the others by leaving.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from service.context import Progress, deadline_exceeded
from service.errors import DeadlineExceeded, Draining, StorageExhausted
from service.scheduling.policy import Priority
from service.stages.outcome import fail, succeed, wait_for_outcome

log = logging.getLogger(__name__)
T = TypeVar("T")
Waiter = tuple[float, Priority]
_RETRY_AFTER_S = 5


class Flight(Generic[T]):
    """One piece of work and those who wait for it. Its urgency is that of all of them.

    Args:
        descriptor: a file that the work reads, opened once more for it; None: it reads none.
    """

    def __init__(self, descriptor: int | None) -> None:
        self.descriptor = _copy(descriptor) if descriptor is not None else -1
        self.progress = Progress()
        self.on_change: Callable[[], None] = lambda: None
        self._waiters: dict[asyncio.Future[T], Waiter] = {}
        self._last: Waiter = (0.0, Priority.INTERACTIVE)

    @property
    def earliest(self) -> float:
        return min((deadline for deadline, _ in self._waiters.values()), default=self._last[0])

    @property
    def latest(self) -> float:
        return max((deadline for deadline, _ in self._waiters.values()), default=self._last[0])

    @property
    def priority(self) -> Priority:
        asked = {priority for _, priority in self._waiters.values() or [self._last]}
        return next(priority for priority in Priority if priority in asked)

    def board(self, deadline: float, priority: Priority) -> asyncio.Future[T]:
        """Another waits for it."""
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._last = self._waiters[waiter] = (deadline, priority)
        self.on_change()
        return waiter

    def alight(self, waiter: asyncio.Future[T]) -> bool:
        """One waits no more; whether nobody does."""
        del self._waiters[waiter]
        if self._waiters:
            self.on_change()
        return not self._waiters

    def land(self, task: asyncio.Task[T]) -> None:
        """Gives everybody the outcome, one turn of the loop after another: answering a hundred at once would keep all
        other callers waiting meanwhile."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self._tell(deque(self._waiters), task)

    def _tell(self, waiters: deque[asyncio.Future[T]], task: asyncio.Task[T]) -> None:
        if not waiters:
            return
        waiter, error = waiters.popleft(), _draining() if task.cancelled() else task.exception()
        if error is None:
            succeed(waiter, task.result())
        elif isinstance(error, Exception):
            fail(waiter, error)
        asyncio.get_running_loop().call_soon(self._tell, waiters, task)


class Flights(Generic[T]):
    """All work in flight, by what makes requests equal."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, tuple[Flight[T], asyncio.Task[T]]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def join(
        self,
        key: Hashable,
        descriptor: int | None,
        waiter: Waiter,
        progress: Progress,
        work: Callable[[Flight[T]], Awaitable[T]],
    ) -> tuple[T, bool]:
        """The work's result, and whether it was shared: begun for another.

        Args:
            key: equal for equal work.
            descriptor: the file that the work reads; its flight keeps a copy.
            waiter: the caller's deadline, in monotonic seconds, and priority.
            progress: the caller's; takes the work's timings and costs where it is begun for him, else the time that he
                waited.
            work: begins it.

        Raises:
            DeadlineExceeded: the caller's time is over.
            Draining: the service shuts down.
            StorageExhausted: no descriptor is left for the copy.
            Exception: whatever the work raises.
        """
        while True:
            shared = key in self._flights
            flight, task = self._flights[key] if shared else self._begin(key, descriptor, work)
            try:
                return await self._wait(key, flight, task, waiter, progress, shared=shared), shared
            except DeadlineExceeded:
                # It was given up since it came too late for those before: who has more time begins anew.
                if not shared or time.monotonic() >= waiter[0]:
                    raise

    def _begin(
        self, key: Hashable, descriptor: int | None, work: Callable[[Flight[T]], Awaitable[T]]
    ) -> tuple[Flight[T], asyncio.Task[T]]:
        flight: Flight[T] = Flight(descriptor)

        async def fly() -> T:
            return await work(flight)

        task = asyncio.create_task(fly())
        self._flights[key] = flight, task
        task.add_done_callback(lambda _: self._drop(key, flight))
        task.add_done_callback(flight.land)
        return flight, task

    async def _wait(
        self,
        key: Hashable,
        flight: Flight[T],
        task: asyncio.Task[T],
        waiter: Waiter,
        progress: Progress,
        *,
        shared: bool,
    ) -> T:
        began = time.monotonic()
        outcome = flight.board(*waiter)
        try:
            return await wait_for_outcome(outcome, waiter[0] - began)
        except TimeoutError:
            raise deadline_exceeded() from None
        finally:
            progress.stage = flight.progress.stage
            if shared:
                progress.record("shared", time.monotonic() - began)
            else:
                for stage, milliseconds in flight.progress.so_far().items():
                    progress.record(stage, milliseconds / 1000)
                progress.costs |= flight.progress.costs
            if flight.alight(outcome) and not task.done():
                self._drop(key, flight)
                task.cancel()

    def _drop(self, key: Hashable, flight: Flight[T]) -> None:
        """Nobody may join any more."""
        if key in self._flights and self._flights[key][0] is flight:
            del self._flights[key]

    async def close(self) -> None:
        """Cancels all work; whoever waits is told that the service drains."""
        tasks = [task for _, task in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _copy(descriptor: int) -> int:
    try:
        return os.dup(descriptor)
    except OSError as error:
        log.error("no descriptor is left for an upload: %s", error.strerror)
        raise StorageExhausted("no room for the upload now: send it again", retry_after_s=_RETRY_AFTER_S) from error


def _draining() -> Draining:
    return Draining("the service is shutting down: send the request again", retry_after_s=1)
