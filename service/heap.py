"""What lives as long as the process does is no garbage, and the collector need not look at it again and again."""

from __future__ import annotations

import gc


def settle() -> int:
    """Collects what the start left, and takes the rest out of the collector's sight for good.

    A full collection walks through every object there is, while nothing else of the process runs: after a start these
    are some 80,000, and a refusal that meets one is late. Afterwards it walks through what came later. What is alive
    now and becomes garbage in a circle stays for good, such as a probe's connection: so it is called once.

    Returns:
        How many objects are out of sight.
    """
    gc.collect()
    gc.freeze()
    return gc.get_freeze_count()
