"""Clips that ended their decoder, by digest: after a few times they are refused unread, for a while."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable


class Quarantine:
    """A bounded record of crashes by digest; the least recently seen are forgotten, and each crash after a while.

    Args:
        after: crashes after which a clip is refused.
        entries: digests remembered.
        expire_s: seconds after which a crash is forgotten: a verdict on a clip must not outlive the defect behind it.
        clock: monotonic seconds.
    """

    def __init__(self, after: int, entries: int, expire_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._after = after
        self._entries = entries
        self._expire_s = expire_s
        self._clock = clock
        self._crashes: OrderedDict[str, deque[float]] = OrderedDict()

    def record(self, digest: str) -> None:
        """Counts one crash of the clip's own."""
        self._crashes.setdefault(digest, deque(maxlen=self._after)).append(self._clock())
        self._crashes.move_to_end(digest)
        while len(self._crashes) > self._entries:
            self._crashes.popitem(last=False)

    def holds(self, digest: str) -> bool:
        """Whether the clip is to be refused."""
        crashes = self._crashes.get(digest)
        if crashes is None:
            return False
        while crashes and self._clock() - crashes[0] > self._expire_s:
            crashes.popleft()
        if not crashes:
            del self._crashes[digest]
            return False
        self._crashes.move_to_end(digest)
        return len(crashes) >= self._after
