"""Assignment: a unit -> an arm, by a salted hash: the same on every pod and after every restart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def position(unit: str, experiment: str, salt: str) -> float:
    """Where the unit falls in [0, 1): uniform over units, independent between salts and experiments."""
    # Lengths in front keep ("ab", "c") and ("a", "bc") apart.
    key = b"".join(len(part).to_bytes(4, "big") + part for part in (p.encode() for p in (experiment, salt, unit)))
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / 2**64


def assign(unit: str, arms: Sequence[tuple[str, float]], experiment: str, salt: str) -> str:
    """The arm of a unit.

    Args:
        unit: what must stick to one arm: a video id, or a content digest.
        arms: (name, weight) in a fixed order. Raising a later arm's weight moves units only towards it.
        experiment, salt: changing either reshuffles all units.

    Raises:
        ValueError: no arm has a weight above 0.
    """
    total = sum(weight for _, weight in arms)
    if total <= 0:
        raise ValueError("at least one arm needs a weight above 0")
    left = position(unit, experiment, salt) * total
    chosen = None
    for name, weight in arms:
        if weight > 0:
            chosen = name
            if left < weight:
                break
        left -= weight
    assert chosen is not None  # some weight is above 0
    return chosen
