"""Names and locks of a log's files: ``<writer>-<sequence>.sqlite``, and ``<writer>.lock`` while the writer lives.

A writer is the life of one process: its name holds a random part and comes never again, so no file is ever opened for
writing twice, and what is made of a file may bear its name. The kernel lets go of the lock with the process, however
that ends. A live writer writes to its highest sequence alone; every other file is closed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"(?P<writer>[A-Za-z0-9._-]{1,128})-(?P<sequence>\d{6,})\.sqlite")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]")
LOCK = ".lock"
UNNAMED = ".new"
"""Behind the name of a file that is not whole yet."""


@dataclass(frozen=True, order=True)
class LogFile:
    """A SQLite file of the log."""

    writer: str
    sequence: int
    directory: Path

    @property
    def path(self) -> Path:
        return self.directory / f"{self.writer}-{self.sequence:06d}.sqlite"

    @property
    def stem(self) -> str:
        """What names everything that is made of it."""
        return self.path.stem

    def remove(self) -> None:
        """Takes it away, its journal last: a file that lost its journal first would lose what only that holds."""
        unnamed = self.path.with_name(f"{self.path.name}{UNNAMED}")
        for path in (self.path, unnamed):
            for suffix in ("", "-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)


def new_writer(host: str) -> str:
    """A name that no other process has, has had or will have."""
    return f"{_UNFIT.sub('_', host)[:64] or 'host'}-{uuid.uuid4().hex[:12]}"


def log_files(directory: Path) -> list[LogFile]:
    """The SQLite files in it, by writer and age."""
    found = [(_NAME.fullmatch(entry.name), entry) for entry in directory.iterdir()]
    return sorted(LogFile(m["writer"], int(m["sequence"]), entry.parent) for m, entry in found if m)


class WriterLock:
    """Held by a writer for as long as it lives.

    Raises:
        OSError: the directory cannot be written.
    """

    def __init__(self, directory: Path, writer: str) -> None:
        self._path = directory / f"{writer}{LOCK}"
        unseen = directory / f"{writer}{LOCK}{UNNAMED}"
        self._descriptor = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        # Named once it is locked: whoever finds the name never finds it free while this process lives.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unseen.rename(self._path)

    def release(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        os.close(self._descriptor)


def is_live(directory: Path, writer: str) -> bool:
    """Whether a process holds the writer's lock."""
    try:
        descriptor = os.open(directory / f"{writer}{LOCK}", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def closed_files(directory: Path) -> list[LogFile]:
    """The files that nobody writes to any more."""
    # Files before locks: a writer that begins in between is not seen, and what one that ends leaves is closed.
    files = log_files(directory)
    newest = {file.writer: file.sequence for file in files}
    live = {writer for writer in newest if is_live(directory, writer)}
    return [file for file in files if file.writer not in live or file.sequence < newest[file.writer]]


def clear_debris(directory: Path) -> None:
    """Takes away what writers that are gone have left of no use: locks, files that were never whole."""
    for path in [
        *directory.glob(f"*{LOCK}"),
        *directory.glob(f"*{LOCK}{UNNAMED}"),
        *directory.glob(f"*.sqlite{UNNAMED}*"),
    ]:
        writer = re.sub(rf"(-\d+\.sqlite|{LOCK})({UNNAMED}.*)?$", "", path.name)
        if not is_live(directory, writer):
            path.unlink(missing_ok=True)


class CompactionRunning(Exception):
    """Another process works on the directory."""


@contextlib.contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Holds the directory against other compactions.

    Raises:
        CompactionRunning: one is at work.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CompactionRunning(f"{directory}: another compaction is at work there") from None
        yield
    finally:
        os.close(descriptor)


def fsync_directory(directory: Path) -> None:
    """Makes names in it durable: files that were made, renamed or removed."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
