"""The spool: an upload as an unnamed file, hashed on the way in.

A directory without room is the operator's to mend and the caller's to wait for: 503, said in the log.

The file has no name, so it is gone with its last handle, also when the process is killed. A decode worker
is handed the handle itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from service.errors import BodyTooLarge, StartError, StorageExhausted

log = logging.getLogger(__name__)
_RETRY_AFTER_S = 5
_CHUNK = 1024 * 1024
"""Bytes gathered before a thread writes and hashes them: a hop for each network read would cost more."""


def check_spool(directory: Path | None) -> None:
    """Raises StartError where uploads could not be written: ready must not mean that every request fails."""
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        place = directory or "the system's temporary directory"
        raise StartError(f"body.spool_directory: {place} cannot be written: {error.strerror}") from error


class Spool:
    """A video on its way to disk.

    Args:
        directory: where; None: the system's temporary directory.
        max_bytes: of the video.

    Raises:
        StorageExhausted: no file can be opened there.
    """

    def __init__(self, directory: Path | None, max_bytes: int) -> None:
        with _room():
            # Unbuffered: what the disk does not take must fail here and now, not once more when it is closed.
            self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115  closed by close()
        self._hash = hashlib.sha256()
        self._pending = bytearray()
        self._max_bytes = max_bytes
        self.size = 0

    def check(self, more: int) -> None:
        """Raises BodyTooLarge if ``more`` bytes do not fit."""
        if self.size + more > self._max_bytes:
            raise BodyTooLarge(f"the video is over the limit of {self._max_bytes} bytes: send a smaller rendition")

    def add(self, data: bytes | memoryview) -> None:
        """Takes bytes into memory; ``flush`` brings them to disk.

        Raises:
            BodyTooLarge: over the limit.
        """
        self.check(len(data))
        self.size += len(data)
        self._pending += data

    async def flush(self, *, final: bool = False) -> None:
        """Writes and hashes what is pending, in a thread, once it is worth a thread or ``final``.

        Raises:
            StorageExhausted: the disk does not take it.
        """
        if self._pending and (final or len(self._pending) >= _CHUNK):
            data, self._pending = self._pending, bytearray()
            with _room():
                await asyncio.to_thread(self._write, data)

    def _write(self, data: bytearray) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        self._hash.update(data)

    def fileno(self) -> int:
        return self._file.fileno()

    def digest(self) -> str:
        """SHA-256, in hex, of what was flushed."""
        return self._hash.hexdigest()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _room() -> Iterator[None]:
    """Turns the system's refusal into ours. Its words go to the log: they may hold a path."""
    try:
        yield
    except OSError as error:
        log.error("the spool takes no upload: %s", error.strerror)
        raise StorageExhausted("no room for the upload now: send it again", retry_after_s=_RETRY_AFTER_S) from error
