"""Memory that the service shares with a worker. Its size is sealed: nobody can change it, the service included.

Without the seals a worker could shorten the file, and the service would die of SIGBUS where it reads on.
"""

from __future__ import annotations

import fcntl
import os
from typing import BinaryIO

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def unnamed_memory(name: str) -> BinaryIO:
    """An empty file in memory, gone with its last handle."""
    return os.fdopen(os.memfd_create(name), "r+b")


def sealed_slot(size: int) -> BinaryIO:
    """A file in memory of ``size`` bytes for ever; only its content can change."""
    file = os.fdopen(os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "r+b")
    try:
        file.truncate(size)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        file.close()
        raise
    return file
