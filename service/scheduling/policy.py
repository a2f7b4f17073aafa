"""The policy of the decode queue, as pure functions: order, waits, who becomes late, how many may run.

Order: by priority; among equals by the earlier of two moments: the last at which it can start and still
be in time, and its arrival plus a few times its price. So urgent work goes first, without deadlines in the way small
work overtakes large work that came shortly before it, and nobody is overtaken for ever.

A short queue is foreseen start by start. The waits of a long one are bounded (R. L. Graham, 1969): while somebody waits
all workers are busy, so he starts once the work ahead of him, shared among the workers, is done at the latest.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate
from typing import Protocol

PATIENCE = 4.0
"""For how many times its own price a job lets later ones overtake it."""
_MARKEDLY = 0.9
"""Clips that are alike do not count as small beside each other."""
Key = tuple[int, float]
"""Rank of the priority, then how urgent."""
Running = tuple[float, bool]
"""For how many seconds a job still holds its core, and whether it is bulk."""


class Priority(StrEnum):
    """The first goes first. Nobody asks for the last one: it is given to callers in bad standing."""

    INTERACTIVE = "interactive"
    BULK = "bulk"
    LAST = "last"

    @property
    def rank(self) -> int:
        """0 goes first."""
        return list(Priority).index(self)

    @property
    def bulk(self) -> bool:
        """Whether it leaves room for others: all but the first do."""
        return self.rank > 0


ASKED_FOR = (Priority.INTERACTIVE, Priority.BULK)


class Place(Protocol):
    """One job in the queue, or about to be.

    Attributes:
        key: its order; see ``order_key``.
        held_s: seconds for which it will hold a core.
        whole_s: seconds from its start to its verdict.
        latest: its deadline, in monotonic seconds.
        hurried: whether it was promised a turn that it would miss by waiting for one of the ``parallel`` workers.
    """

    @property
    def key(self) -> Key: ...

    @property
    def held_s(self) -> float: ...

    @property
    def whole_s(self) -> float: ...

    @property
    def latest(self) -> float: ...

    @property
    def hurried(self) -> bool: ...


def order_key(priority: Priority, arrived: float, latest_start: float, price_s: float) -> Key:
    """What the queue is sorted by, ascending."""
    return priority.rank, min(latest_start, arrived + PATIENCE * price_s)


def waits(ahead_s: float, prices_s: Sequence[float], parallel: int) -> list[float]:
    """For each job of the queue, in order, the most seconds until it starts.

    Args:
        ahead_s: what is left of the jobs that run.
        prices_s: of the queue.
        parallel: how many run at the same time.
    """
    return [ahead / parallel for ahead in accumulate(prices_s, initial=ahead_s)][:-1]


def position(queue: Sequence[Place], key: Key) -> int:
    """Where a newcomer goes: behind those of the same order."""
    return bisect_right(queue, key, key=lambda place: place.key)


def starts(running: Sequence[Running], queue: Sequence[Place], parallel: int) -> list[float]:
    """For each job of the queue, in order, the seconds until it starts if nobody else comes.

    Args:
        running: the jobs that run.
        queue: in order.
        parallel: how many run at the same time, the spare worker not counted.
    """
    now = 0.0
    ends = list(running)
    found = [0.0] * len(queue)
    waiting = list(range(len(queue)))
    while waiting:
        left = [(end - now, bulk) for end, bulk in ends]
        index = next((i for i in waiting if may_start(queue[i], left, parallel)), None)
        if index is None:
            now = min(end for end, _ in ends)
            ends = [(end, bulk) for end, bulk in ends if end > now]
            continue
        waiting.remove(index)
        found[index] = now
        ends.append((now + queue[index].held_s, queue[index].key[0] > 0))
    return found


def harmed(
    queue: Sequence[Place], before: Sequence[float], after: Sequence[float], now: float, margin: float
) -> list[int]:
    """Indexes of those in the queue who could not count on being in time any more because of a newcomer.

    Who is beyond help already is not harmed.

    Args:
        queue: without the newcomer.
        before: until each starts without him, in seconds.
        after: and with him.
        now: in monotonic seconds.
        margin: multiplies what is predicted.
    """
    found = []
    for index, (place, without_s, with_s) in enumerate(zip(queue, before, after, strict=True)):
        needed_s, left_s = place.whole_s, place.latest - now
        if with_s > without_s and without_s + needed_s <= left_s < margin * (with_s + needed_s):
            found.append(index)
    return found


def may_start(place: Place, running: Sequence[Running], parallel: int) -> bool:
    """Whether a job may start beside those that run.

    ``parallel`` jobs may; one worker more is kept warm, and takes what would else wait for longer than it takes itself,
    and what was promised this turn. Bulk work leaves a worker to the others where there are several.

    Args:
        place: the job.
        running: the jobs that run.
        parallel: how many may run.
    """
    bulk = place.key[0] > 0
    if bulk and sum(is_bulk for _, is_bulk in running) >= max(1, parallel - 1):
        return False
    if len(running) < parallel:
        return True
    if bulk or len(running) > parallel:
        return False
    # What has no time left was given up and only has not stopped yet: it says nothing of when a core is free.
    soonest_s = min((left_s for left_s, _ in running if left_s > 0), default=math.inf)
    return place.hurried or place.held_s < _MARKEDLY * soonest_s
