"""Who was told to come back when, so that there is room for him when he does.

Retry-After alone is no promise: under lasting overload those who come back as told meet as many newcomers as the first
time. So each who is refused gets a turn in a queue that has yet to come: turns follow each other at the pace of the
workers, the answer names the turn, and newcomers are let in only beside the turns that are due. Not all come back:
the share of those who do is learnt, and only so much room is kept.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_RETRY_AFTER_S = 120
_GRACE = (5.0, 0.5)
"""How long after his turn somebody still counts as having come back: seconds, or this share of what he waited."""
_EARLY_S = 0.1
"""Clocks differ by a little: so much before the turn is not early."""
_GAIN = 0.05
_LEAST_SHARE = 0.05


@dataclass(frozen=True)
class Promise:
    """One turn.

    Attributes:
        made: when it was promised, in monotonic seconds.
        due: when its turn is.
        work_s: seconds of work, over all workers, that it will bring.
    """

    made: float
    due: float
    work_s: float

    @property
    def ends(self) -> float:
        return self.due + max(_GRACE[0], _GRACE[1] * (self.due - self.made))


class Promises:
    """The turns, by whose they are.

    Args:
        ended: told of each promise that ends, whether he came as told.
        entries: how many are remembered; the oldest are forgotten.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        ended: Callable[[bool], None] = lambda kept: None,
        entries: int = 4096,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ended = ended
        self._entries = entries
        self._clock = clock
        self._promises: OrderedDict[str, Promise] = OrderedDict()
        self._next_turn = -math.inf
        self.kept_share = 1.0
        """Of those who were told, how many come back as told: all, until it is known better."""

    def __len__(self) -> int:
        return len(self._promises)

    def promise(self, who: str | None, work_s: float, drain_s: float) -> int:
        """After how many whole seconds to come back, 1 to 120.

        Args:
            who: the same again when he comes back; None: nobody can tell, so no room is kept.
            work_s: what he brings, shared among the workers.
            drain_s: until the work that is accepted is done.
        """
        now = self._clock()
        self._forget(now)
        held = self._promises.get(who) if who is not None else None
        if held is not None and now < held.due - _EARLY_S:
            return _whole(held.due - now)
        turn = max(now + drain_s, self._next_turn)
        wait_s = _whole(turn - now)
        if who is not None and turn - now <= MAX_RETRY_AFTER_S:
            self._next_turn = turn + work_s * self.kept_share
            self._promises.pop(who, None)
            self._promises[who] = Promise(now, now + wait_s, work_s)
            while len(self._promises) > self._entries:
                self._promises.popitem(last=False)
        return wait_s

    def redeem(self, who: str | None) -> Promise | None:
        """The promise of somebody who came back as told; None for newcomers and for who is early."""
        now = self._clock()
        self._forget(now)
        held = self._promises.get(who) if who is not None else None
        if who is None or held is None or now < held.due - _EARLY_S:
            return None
        del self._promises[who]
        self._learn(kept=True)
        return held

    def is_due(self, who: str | None) -> bool:
        """Whether ``redeem`` would find a promise."""
        held = self._promises.get(who) if who is not None else None
        return held is not None and held.due - _EARLY_S <= self._clock() <= held.ends

    def due_s(self, within_s: float) -> float:
        """Seconds of work expected from turns that come up within so many seconds."""
        now = self._clock()
        self._forget(now)
        due = (held.work_s for held in self._promises.values() if held.due <= now + within_s)
        return sum(due) * self.kept_share

    def _forget(self, now: float) -> None:
        """Drops those who did not come. (Promises are made for later and later turns, so the first ones end first.)"""
        while self._promises:
            who, first = next(iter(self._promises.items()))
            if first.ends >= now:
                return
            del self._promises[who]
            self._learn(kept=False)

    def _learn(self, *, kept: bool) -> None:
        self.kept_share = max(_LEAST_SHARE, self.kept_share + _GAIN * (kept - self.kept_share))
        self._ended(kept)


def _whole(seconds: float) -> int:
    return max(1, min(MAX_RETRY_AFTER_S, math.ceil(seconds)))
