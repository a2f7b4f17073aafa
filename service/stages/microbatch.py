"""Micro-batch: one clip -> its logits, computed beside strangers.

One task owns each arm's queue. It commits a batch only once a lane is free, so that a batch holds whatever
has come until then, and the most urgent first. A clip whose caller left or whose time is over is dropped
before the lane; each caller gets exactly one outcome, also when a run fails, the owner crashes or the service drains.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import thread_time

import numpy as np
from numpy.typing import NDArray

from contract.example import ModelInputs
from service.context import deadline_exceeded
from service.errors import Draining, InferenceFailed
from service.logs import FIELDS
from service.metrics import Metrics
from service.scheduling.estimate import Estimate
from service.scheduling.policy import Priority
from service.stages.inference import GaveWay, Lanes
from service.stages.outcome import fail, succeed, wait_for_outcome

log = logging.getLogger(__name__)
Infer = Callable[[Sequence[ModelInputs], Callable[[], bool]], Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Answer:
    """One clip's logits and how they came about.

    Attributes:
        logits: task name -> (K,) float32.
        queue_s: how long it waited for a lane.
        run_s: how long its batch ran.
        batch_size: clips in that batch.
        cpu_s: its share of the CPU seconds of the lane's thread.
    """

    logits: dict[str, NDArray[np.float32]]
    queue_s: float
    run_s: float
    batch_size: int
    cpu_s: float = 0.0


@dataclass(order=True)
class _Item:
    rank: int
    deadline: float
    order: int
    inputs: ModelInputs = field(compare=False)
    done: asyncio.Future[Answer] = field(compare=False)
    queued: float = field(compare=False)
    on_start: Callable[[], None] = field(compare=False)


class MicroBatcher:
    """The queue in front of one arm's model.

    Args:
        arm: for metrics and logs.
        infer: runs on a lane's thread; takes at most ``max_batch`` examples, and what says that nobody waits for any of
            them; it then may raise ``GaveWay``.
        max_batch: the largest bucket.
        lanes: shared with the other arms.
        metrics: where it shows.
        expected_run_s: how long one clip takes, from warm-up.
        expected_text_run_s: how long a text alone takes.
    """

    def __init__(
        self,
        arm: str,
        infer: Infer,
        max_batch: int,
        lanes: Lanes,
        metrics: Metrics,
        expected_run_s: float = 0.0,
        expected_text_run_s: float = 0.0,
    ) -> None:
        self._arm = arm
        self._infer = infer
        self._max_batch = max_batch
        self._lanes = lanes
        self._metrics = metrics
        metrics.batcher_restarts.labels(arm)
        self._first_run_s = {True: expected_run_s, False: expected_text_run_s}
        self._run_estimates = {with_video: Estimate() for with_video in (True, False)}
        self._waiting: list[_Item] = []
        self._order = itertools.count()
        self._arrived = asyncio.Event()
        self._running: dict[asyncio.Task[None], float] = {}
        self._owner: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        self._owner = asyncio.create_task(self._supervise(), name=f"batch-{self._arm}")

    def alive(self) -> bool:
        return self._owner is not None and not self._owner.done()

    def expected_run_s(self, with_video: bool) -> float:
        """Seconds on a lane that one request is expected to take; 0 before anything was measured.

        On the CPU a text alone does not pay for the vision tower, which is most of what a clip costs. (On a GPU every
        row of a batch with a clip does, and both kinds learn from batches of both.)
        """
        return self._first_run_s[with_video] * self._run_estimates[with_video].factor

    def run_margin(self, with_video: bool) -> float:
        """What to multiply that with to be rarely too low."""
        return self._run_estimates[with_video].margin

    def oldest_run_s(self) -> float:
        """For how long the oldest batch has been on its lane; 0 where none is."""
        return time.monotonic() - min(self._running.values()) if self._running else 0.0

    async def submit(
        self,
        inputs: ModelInputs,
        deadline: float,
        priority: Priority = Priority.INTERACTIVE,
        on_start: Callable[[], None] = lambda: None,
    ) -> Answer:
        """The clip's logits.

        Args:
            inputs: one example.
            deadline: monotonic seconds.
            priority: the lower go after all others.
            on_start: called when a lane has it.

        Raises:
            DeadlineExceeded: its time ended, or would end before its batch does.
            InferenceFailed: the model did not run.
            Draining: the service is shutting down.
        """
        if self._closed:
            raise _draining()
        now = time.monotonic()
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        item = _Item(priority.rank, deadline, next(self._order), inputs, done, now, on_start)
        heapq.heappush(self._waiting, item)
        self._show_depth()
        self._arrived.set()
        try:
            return await wait_for_outcome(done, deadline - now)
        except TimeoutError:
            raise deadline_exceeded() from None
        finally:
            self._forget(item)

    def _forget(self, item: _Item) -> None:
        """Takes out what its caller left before it was committed."""
        if item in self._waiting:
            self._waiting.remove(item)
            heapq.heapify(self._waiting)
            self._show_depth()

    async def close(self) -> None:
        """Waits for what runs, then tells those that wait that the service drains."""
        self._closed = True
        if self._owner is not None:
            self._owner.cancel()
            await asyncio.gather(self._owner, return_exceptions=True)
        self._fail_waiting(_draining())
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _supervise(self) -> None:
        """Keeps the owner going; a defect in it fails those that wait, not those that come."""
        while True:
            try:
                await self._own_queue()
            except Exception:
                log.exception("micro-batcher restarted", extra={FIELDS: {"arm": self._arm, "stage": "queue"}})
                self._metrics.batcher_restarts.labels(self._arm).inc()
                self._fail_waiting(_failed())

    async def _own_queue(self) -> None:
        while True:
            await self._arrived.wait()
            await self._lanes.acquire()
            try:
                batch = self._commit()
            except BaseException:
                self._lanes.free.release()
                raise
            if not batch:
                self._lanes.free.release()
                continue
            task = asyncio.create_task(self._run(batch))
            self._running[task] = time.monotonic()
            task.add_done_callback(self._ran)

    def _ran(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._lanes.free.release()

    def _commit(self) -> list[_Item]:
        """The most urgent clips that somebody waits for and that can still be answered in time."""
        batch: list[_Item] = []
        while self._waiting and len(batch) < self._max_batch:
            item = heapq.heappop(self._waiting)
            if item.done.done():
                continue
            # An estimate that nothing has borne out lately refuses nobody: one slow run must not, for ever.
            video = item.inputs.video_present
            needed_s = self.expected_run_s(video) if self._run_estimates[video].trusted else 0.0
            if time.monotonic() + needed_s > item.deadline:
                fail(item.done, deadline_exceeded())
                continue
            batch.append(item)
        if not self._waiting:
            self._arrived.clear()
        self._show_depth()
        return batch

    async def _run(self, batch: list[_Item]) -> None:
        """Resolves every item. If a batch of several fails, each is tried alone: a bad clip fails alone."""
        began = time.monotonic()
        for item in batch:
            item.on_start()
        try:
            logits, cpu_s = await self._lanes.run(lambda: _measured(self._infer, batch))
            rows = [{task: values[row] for task, values in logits.items()} for row in range(len(batch))]
        except GaveWay:
            self._learn_at_least(batch, time.monotonic() - began)
            return
        except Exception:
            if len(batch) > 1:
                for item in batch:
                    await self._run([item])
                return
            log.exception("a batch failed", extra={FIELDS: {"arm": self._arm, "stage": "inference"}})
            fail(batch[0].done, _failed())
            return
        except asyncio.CancelledError:
            _fail_all(batch, _draining())
            raise
        run_s = time.monotonic() - began
        for with_video in _kinds(batch):
            self._first_run_s[with_video] = self._first_run_s[with_video] or run_s / len(batch)
            self._run_estimates[with_video].learn(run_s / len(batch) / self._first_run_s[with_video])
        self._metrics.batch_size.labels(self._arm).observe(len(batch))
        for item, own in zip(batch, rows, strict=True):
            succeed(item.done, Answer(own, began - item.queued, run_s, len(batch), cpu_s / len(batch)))

    def _learn_at_least(self, batch: Sequence[_Item], run_s: float) -> None:
        """A run that was given up would have taken longer: else a model that became too slow for its callers would go
        on looking fast."""
        for with_video in _kinds(batch):
            if self._first_run_s[with_video]:
                self._run_estimates[with_video].learn_at_least(run_s / len(batch) / self._first_run_s[with_video])

    def _fail_waiting(self, error: Draining | InferenceFailed) -> None:
        waiting, self._waiting = self._waiting, []
        self._arrived.clear()
        self._show_depth()
        _fail_all(waiting, error)

    def _show_depth(self) -> None:
        self._metrics.queue_depth.labels(self._arm).set(len(self._waiting))


def _kinds(batch: Sequence[_Item]) -> set[bool]:
    """Whether there is a clip in it, a text alone, or both."""
    return {item.inputs.video_present for item in batch}


def _measured(infer: Infer, batch: Sequence[_Item]) -> tuple[Mapping[str, NDArray[np.float32]], float]:
    """What ``infer`` gives, and the CPU seconds that this thread spent on it."""
    before = thread_time()
    logits = infer([item.inputs for item in batch], lambda: all(item.done.done() for item in batch))
    return logits, thread_time() - before


def _fail_all(items: Sequence[_Item], error: Draining | InferenceFailed) -> None:
    for item in items:
        fail(item.done, error)


def _draining() -> Draining:
    return Draining("the service is shutting down: send the request again", retry_after_s=1)


def _failed() -> InferenceFailed:
    return InferenceFailed("the model failed on this request; the operator was told")
