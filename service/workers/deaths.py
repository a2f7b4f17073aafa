"""Why a worker's process ended. A clip is blamed for what its decoder did, not for what was done to it."""

from __future__ import annotations

import os
import signal
from enum import StrEnum
from pathlib import Path

_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
"""Signals that a decoder does not raise by a defect of its own."""
_MEMORY_EVENTS = Path("sys/fs/cgroup/memory.events")


class Blame(StrEnum):
    OWN = "own"
    OUTSIDE = "outside"


def blame_for(exit_code: int | None, *, memory_ran_out: bool) -> Blame:
    """Whose doing it was.

    Args:
        exit_code: as ``subprocess`` gives it: below 0 a signal; None: it lives but answers nonsense.
        memory_ran_out: whether the kernel has ended somebody in this control group for its memory meanwhile. The
            clip is then the likeliest cause: the largest process is the one that is ended.
    """
    if exit_code is None or -exit_code not in _FROM_OUTSIDE:
        return Blame.OWN
    return Blame.OWN if exit_code == -signal.SIGKILL and memory_ran_out else Blame.OUTSIDE


def cpu_seconds(pid: int, root: Path = Path("/")) -> float:
    """CPU time that a process has taken so far; 0 where it is gone.

    Args:
        pid: of the process.
        root: where ``proc`` is.
    """
    try:
        words = (root / f"proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def runnable(pid: int, root: Path = Path("/")) -> bool:
    """Whether a process runs, or only waits for a core; not where it sleeps, is stopped, or is gone.

    Args:
        pid: of the process.
        root: where ``proc`` is.
    """
    try:
        text = (root / f"proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[:1] == ["R"]


def memory_kills(root: Path = Path("/")) -> int:
    """How many processes of this control group the kernel has ended for its memory; 0 where that is not told.

    Args:
        root: where ``sys`` is.
    """
    try:
        lines = (root / _MEMORY_EVENTS).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0
    counts = (line.split() for line in lines)
    return sum(int(words[1]) for words in counts if len(words) == 2 and words[0] == "oom_kill" and words[1].isdigit())
