"""Whether a unit was seen before: two Bloom filters, so that a pod's memory is bounded however many units there are.

They err on one side only: a new unit may be taken for an old one, and then is not counted. That depends on its hash
alone, not on its arm, so it thins what is counted and distorts no comparison. A filter that is full takes a new one's
place as the older of two, so a pod never goes blind; a unit that was last seen a million units ago counts once more.
"""

from __future__ import annotations

from collections.abc import Sequence

_BITS = 1 << 23
_PROBES = 4
_FULL = 0.38
"""Of a filter's bits: a million units, of which a filter so full would then miss one new one in fifty."""


class Sightings:
    """The last million units or more are told apart but for 4 %."""

    def __init__(self) -> None:
        self._newer, self._older = _Filter(), _Filter()

    def first(self, unit_hash: str) -> bool:
        """Whether this is the first time, and from now on it was seen."""
        places = [int(unit_hash[8 * probe : 8 * probe + 8], 16) % _BITS for probe in range(_PROBES)]
        known = self._newer.holds(places) or self._older.holds(places)
        self._newer.add(places)
        if self._newer.ones > _FULL * _BITS:
            self._newer, self._older = _Filter(), self._newer
        return not known


class _Filter:
    def __init__(self) -> None:
        self._bits = bytearray(_BITS // 8)
        self.ones = 0

    def holds(self, places: Sequence[int]) -> bool:
        return all(self._bits[at >> 3] & 1 << (at & 7) for at in places)

    def add(self, places: Sequence[int]) -> None:
        for at in places:
            byte, bit = at >> 3, 1 << (at & 7)
            if not self._bits[byte] & bit:
                self._bits[byte] |= bit
                self.ones += 1
