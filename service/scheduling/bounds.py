"""How many requests may be in flight, so that the seconds of work are what binds."""

from __future__ import annotations

import resource

REQUESTS_PER_CORE = 1024
"""At 10 ms, the cheapest honest request, these are 10 s of work on any number of cores: a bound on the count must lie
above the bound on the work, or no request of small price ever shows on the signal that is scaled on."""
_FILES_PER_REQUEST = 4
"""A connection, a spool, its copy for the work that is shared, and one to spare."""
_OTHER_FILES = 256
_FEWEST = 64


def most_requests(cores: int, open_files: int) -> int:
    """Requests in flight at the most.

    Args:
        cores: that this process may use.
        open_files: its limit.
    """
    return max(_FEWEST, min(REQUESTS_PER_CORE * cores, (open_files - _OTHER_FILES) // _FILES_PER_REQUEST))


def open_files() -> int:
    """How far the limit of open files of this process may be raised (``service.wire.capacity`` raises it)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return hard if hard != resource.RLIM_INFINITY else 1 << 20
