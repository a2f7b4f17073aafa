"""Assignment: a unit -> an arm, by salted hashes: the same on every pod, after every restart, and for whoever computes
it upstream. Nothing here but the standard library.

Arms are chosen by weighted rendezvous hashing (Thaler and Ravishankar 1998; the weighted score is that of
Schindelhauer and Schomaker 2005): each arm draws an exponential time of rate ``weight`` from the unit's hash, and the
first to ring has the unit. So an arm that grows takes units from all others and gives none away, an arm that shrinks
gives away its own units only, and the order of the arms does not matter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

_BITS = 52
"""Of the hash; so many that a half added to them is still exact in a double."""


def position(*parts: str) -> float:
    """Where a hash of the parts falls in (0, 1): never 0 or 1, uniform, independent between different parts."""
    # Lengths in front keep ("ab", "c") and ("a", "bc") apart.
    key = b"".join(len(part).to_bytes(4, "big") + part for part in (p.encode() for p in parts))
    return ((int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> (64 - _BITS)) + 0.5) / 2**_BITS


def assign(unit: str, arms: Iterable[tuple[str, float]], experiment: str, salt: str) -> str:
    """The arm of a unit.

    Args:
        unit: what must stick to one arm.
        arms: (name, weight). Raising one weight moves units only towards that arm, lowering it only its own units.
        experiment, salt: changing either reshuffles all units.

    Raises:
        ValueError: no arm has a weight above 0.
    """
    times = [(-math.log(position(experiment, salt, name, unit)) / weight, name) for name, weight in arms if weight > 0]
    if not times:
        raise ValueError("at least one arm needs a weight above 0")
    return min(times)[1]


def held_out(unit: str, share: float, experiment: str, salt: str) -> bool:
    """Whether the unit is of the share that an experiment leaves out. A share that grows keeps whom it has."""
    return position(experiment, salt, "", unit) < share  # no arm is named "": independent of the arms' hashes


def place(unit: str, layer: str) -> float:
    """Where the unit falls in a layer's hash space, independent of other layers and of every experiment."""
    return position(layer, unit)
