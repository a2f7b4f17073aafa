"""Starts a decode process from nothing: a worker, or the nursery that workers are forked from."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import IO, Literal

_MODULE = "service.decoding.worker"
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(32 << 20)}
"""glibc's: so much of what is freed is kept. A picture of 720p would else be given back to the kernel each time and
come back as 340 fresh pages, which made a decode take a tenth to a sixth longer."""


def start(
    role: Literal["worker", "nursery"], files: Sequence[int], arguments: Sequence[str], words: IO[bytes] | int
) -> subprocess.Popen[bytes]:
    """The process, with nothing of the service's but these files.

    To be called on the event loop's own thread: the process dies with the thread that started it (PR_SET_PDEATHSIG),
    and a start is a vfork of a millisecond or two. Its own process group keeps a Ctrl-C or a SIGTERM for the whole
    group away from it until requests in flight are answered; a session of its own would do so too, and its niceness
    would be lost (``service.cores.step_back``).

    Args:
        role: what it is.
        files: open files that it inherits; their numbers come before its arguments.
        arguments: as ``service.decoding.worker`` takes them.
        words: what takes its stderr.
    """
    return subprocess.Popen(
        [sys.executable, "-m", _MODULE, role, *map(str, files), *arguments],
        pass_fds=files,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=words,
        env=_environment(),
        process_group=0,
    )


def _environment() -> dict[str, str]:
    """All that it gets: nothing of the service's own, which may hold secrets. decord insists on a PATH."""
    path = os.pathsep.join(p or "." for p in sys.path)
    return {"PYTHONPATH": path, "PATH": os.defpath, "OPENBLAS_NUM_THREADS": "1", **_MALLOC}
