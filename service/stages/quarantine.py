"""Clips that ended their decoder, by digest: after a few times they are refused unread."""

from __future__ import annotations

from collections import OrderedDict


class Quarantine:
    """A bounded count of crashes by digest; the least recently seen are forgotten.

    Args:
        after: crashes after which a clip is refused.
        entries: digests remembered.
    """

    def __init__(self, after: int, entries: int) -> None:
        self._after = after
        self._entries = entries
        self._crashes: OrderedDict[str, int] = OrderedDict()

    def record(self, digest: str) -> None:
        """Counts one crash."""
        self._crashes[digest] = self._crashes.get(digest, 0) + 1
        self._crashes.move_to_end(digest)
        while len(self._crashes) > self._entries:
            self._crashes.popitem(last=False)

    def holds(self, digest: str) -> bool:
        """Whether the clip is to be refused."""
        if digest in self._crashes:
            self._crashes.move_to_end(digest)
        return self._crashes.get(digest, 0) >= self._after
