"""Whose work comes last: that of peers whose callers mostly leave before the answer, or whose clips end decoders.

A caller who leaves, or a clip on which the decoder hangs, takes a core for nothing, and no queue can tell beforehand.
Who does it most of the time is remembered for a while: as long as others want the cores too, its requests come after
all others, and its decodes have what those leave. Of a peer that is a proxy for many, the honest requests weigh against
the others.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from service.errors import ClientGone, DeadlineExceeded, DecodeCrashed, DecodeTimeout

_HALF_LIFE_S = 20.0
_OTHERS_S = 10.0
"""For so long after a request of somebody in good standing there are others who want the cores."""
_NEW_WORKER_S = 0.3
"""What a clip that ended its worker took besides: so much CPU time starts another."""
_MOST_LAST_S = 0.5
"""So many seconds count of a request that came last, for it or against it."""
_WORK = ("decode", "inference")


class _Account:
    """Seconds of work, each counting for less and less."""

    def __init__(self) -> None:
        self.wasted_s = self.used_s = 0.0
        self._at = -math.inf

    def age(self, now: float) -> None:
        left = 0.5 ** ((now - self._at) / _HALF_LIFE_S)
        self.wasted_s, self.used_s, self._at = self.wasted_s * left, self.used_s * left, now


class Standing:
    """The peers' standing.

    Args:
        limit_s: so many wasted seconds are forgiven; 0: all are.
        entries: peers that are remembered.
        clock: monotonic seconds.
    """

    def __init__(self, limit_s: float, entries: int = 4096, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = limit_s
        self._entries = entries
        self._clock = clock
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._good_at = -math.inf

    def goes_last(self, peer: str) -> bool:
        """Whether a request of this peer is to come after those of others. To be asked once for each request."""
        account, now = self._accounts.get(peer), self._clock()
        if account is not None:
            account.age(now)
        if account is None or not self._limit_s or account.wasted_s <= max(self._limit_s, account.used_s):
            self._good_at = now
            return False
        return now - self._good_at <= _OTHERS_S

    def ended(
        self,
        peer: str,
        code: str,
        timings_ms: Mapping[str, float],
        *,
        deadline_chosen: bool = False,
        last: bool = False,
    ) -> None:
        """Takes what a request came to.

        Args:
            peer: who sent it.
            code: ``ok`` or the problem's.
            timings_ms: stage -> what was spent there.
            deadline_chosen: whether the caller allowed less time than the service gives by itself.
            last: whether it came last: by the clock its decode then took as long as others had the cores.
        """
        seconds = sum(timings_ms.get(stage, 0.0) for stage in _WORK) / 1000
        if last:
            seconds = min(seconds, _MOST_LAST_S)
        if code in (DecodeCrashed.code, DecodeTimeout.code):
            self._account(peer).wasted_s += seconds + _NEW_WORKER_S
        elif seconds and code == "ok":
            self._account(peer).used_s += seconds
        elif seconds and (code == ClientGone.code or (code == DeadlineExceeded.code and deadline_chosen)):
            self._account(peer).wasted_s += seconds

    def _account(self, peer: str) -> _Account:
        """The peer's, made if there is none; then one in good standing is forgotten, if there are too many."""
        now = self._clock()
        if peer not in self._accounts and len(self._accounts) >= self._entries:
            good = (name for name, one in self._accounts.items() if one.wasted_s <= one.used_s)
            del self._accounts[next(good, next(iter(self._accounts)))]
        account = self._accounts.setdefault(peer, _Account())
        self._accounts.move_to_end(peer)
        account.age(now)
        return account
