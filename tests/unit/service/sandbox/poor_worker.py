"""A decode worker on a kernel without Landlock, filters of system calls and namespaces."""

from __future__ import annotations

import errno
import os
import sys

from service.decoding import worker as decode_worker
from service.sandbox import kernel, landlock

_really = kernel.system_call


def refuse(name: str, *arguments: int) -> int:
    """``kernel.system_call`` of such a kernel."""
    if name in ("seccomp", "unshare") or name.startswith("landlock"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return _really(name, *arguments)


if __name__ == "__main__":
    kernel.system_call = landlock.system_call = refuse  # type: ignore[attr-defined]
    decode_worker.main(sys.argv[1:])
