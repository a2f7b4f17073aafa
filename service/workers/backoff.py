"""How long to wait before the next attempt at something that keeps failing."""

from __future__ import annotations

import random

_FIRST_S = 0.1
_MOST_S = 30.0


def delay_s(failures: int, rng: random.Random) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, spread by half, 30 at the most.

    Args:
        failures: at least 1.
        rng: draws the spread, so that many who fail together do not try together.
    """
    full = min(_MOST_S, _FIRST_S * 2.0 ** min(failures - 1, 30))
    return full * rng.uniform(0.5, 1.0)
