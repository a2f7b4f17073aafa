"""Where a clip's bytes are read from: a path, or the descriptor of an open file.

A process that may open no path (the service's decode workers) is handed a descriptor. FFmpeg reads it through its
``fd`` protocol, and no name is resolved on the way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

Source = Path | int
"""A path, or the descriptor of a regular file whose offset nobody else moves meanwhile."""


def size_of(source: Source) -> int:
    """How many bytes the file holds."""
    return source.stat().st_size if isinstance(source, Path) else os.fstat(source).st_size


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """The file, from its first byte; a descriptor stays open and keeps its offset."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
        return
    offset = os.lseek(source, 0, os.SEEK_CUR)
    try:
        with open(source, "rb", closefd=False) as file:
            file.seek(0)
            yield file
    finally:
        os.lseek(source, offset, os.SEEK_SET)


def ffmpeg_address(source: Source) -> tuple[str, dict[str, str]]:
    """What FFmpeg is asked to open, and the options that let it reach this file and nothing else."""
    if isinstance(source, Path):
        return str(source), {"protocol_whitelist": "file"}
    os.lseek(source, 0, os.SEEK_SET)
    return "fd:", {"protocol_whitelist": "fd", "fd": str(source)}


def path_of(source: Source) -> Path:
    """The file's path; for a descriptor the one by which the kernel opens it anew."""
    return source if isinstance(source, Path) else Path(f"/proc/self/fd/{source}")
