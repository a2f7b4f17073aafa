"""Group commit: a thread that owns the log's file. Many appends wait, one fsync serves them all.

A thread, since a commit waits for the disk and the event loop must not. It takes whatever waits, in the order it came,
commits it at once, and tells everybody. Where that fails, all of the group are told so, the file is left, and the
thread tries a new one again and again, until the disk takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contract.decision_log import Record
from service.experiment.log.files import LogFile, WriterLock
from service.experiment.log.settings import LogSettings
from service.experiment.log.store import Store
from service.logs import FIELDS
from service.metrics import Metrics

log = logging.getLogger(__name__)
MAX_GROUP = 512
RETRY_S = 1.0
"""Between two tries of a disk that does not take anything."""


@dataclass(frozen=True)
class Entry:
    """Records that are written together or not at all, and who waits for them; None: nobody does."""

    records: tuple[Record, ...]
    done: asyncio.Future[bool] | None


class GroupCommit:
    """The thread and its files.

    Args:
        directory: of the files; made if it is missing.
        writer: names them; no other process has the name.
        settings: rotation, and how many may wait.
        metrics: where it shows.

    Attributes:
        waiting: what is to be written.
        failure: why nothing can be written now; None where it can.
        writing_since: when the commit under way began, in monotonic seconds; None: none is.
    """

    def __init__(self, directory: Path, writer: str, settings: LogSettings, metrics: Metrics) -> None:
        self._directory = directory
        self._writer = writer
        self._settings = settings
        self._metrics = metrics
        self.waiting: queue.Queue[Entry | None] = queue.Queue(settings.max_waiting)
        self.failure: str | None = None
        self.writing_since: float | None = None
        self._lock: WriterLock | None = None
        self._store: Store | None = None
        self._sequence = 0
        self._opened = 0.0
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)

    def start(self) -> None:
        """Opens the first file, or knows why it cannot, and starts the thread."""
        self._attempt([])
        self._thread.start()

    def alive(self) -> bool:
        """Whether the thread is there."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Writes what waits and closes the file. Blocks."""
        self.waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        closing = False
        while not closing:
            entries = self._gather()
            closing = None in entries
            group = [entry for entry in entries if entry is not None]
            if group or self.failure is not None:
                self._commit(group)
            try:
                self._rotate_if_due()
            except OSError as error:  # the file cannot be looked at: the thread must live to say so
                self._failed(error)
        self._leave()
        if self._lock is not None:
            self._lock.release()

    def _gather(self) -> list[Entry | None]:
        """What waits, in the order it came; waits itself for as long as nothing else is to be done."""
        patience = RETRY_S if self.failure is not None else max(0.05, self._due_in())
        try:
            found = [self.waiting.get(timeout=patience)]
        except queue.Empty:
            return []
        with contextlib.suppress(queue.Empty):
            while found[-1] is not None and len(found) < MAX_GROUP:
                found.append(self.waiting.get_nowait())
        return found

    def _commit(self, group: list[Entry]) -> None:
        if self.failure is not None and time.monotonic() < self._retry_at:
            self._settle(group, written=False)
            return
        try:
            written = self._attempt(group)
        except Exception:  # not the disk's doing: one of them is at fault, and fails alone
            log.exception("a record cannot be written")
            self._leave()
            for entry in group:
                self._settle([entry], written=len(group) > 1 and self._alone(entry))
            return
        self._settle(group, written=written)

    def _alone(self, entry: Entry) -> bool:
        try:
            return self._attempt([entry])
        except Exception:
            self._leave()
            return False

    def _attempt(self, group: Sequence[Entry]) -> bool:
        """Whether the group is on the disk; an empty one asks whether the disk takes anything."""
        self.writing_since = began = time.monotonic()
        try:
            store = self._store = self._store or self._open()
            if group:
                records = [record for entry in group for record in entry.records]
                store.write(records)
                for record in records:
                    self._metrics.log_records.labels(record.table).inc()
                self._metrics.log_group_size.observe(len(group))
                self._metrics.log_commit_duration.observe(time.monotonic() - began)
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            return False
        finally:
            self.writing_since = None
        if self.failure is not None:
            log.warning("the decision log is written again")
        self.failure = None
        return True

    def _failed(self, error: sqlite3.Error | OSError) -> None:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        if self.failure is None:
            log.error("the decision log cannot be written", extra={FIELDS: {"stage": "log", "cause": reason}})
        self.failure = reason
        self._retry_at = time.monotonic() + RETRY_S
        self._leave()

    def _open(self) -> Store:
        self._directory.mkdir(parents=True, exist_ok=True)
        if 0 < self._settings.max_bytes < _bytes_in(self._directory):
            raise OSError(errno.ENOSPC, "it holds log.max_bytes already")
        self._lock = self._lock or WriterLock(self._directory, self._writer)
        self._sequence += 1
        file = LogFile(self._writer, self._sequence, self._directory)
        try:
            store = Store(file.path)
        except BaseException:
            file.remove()  # on a full disk each try would leave one
            raise
        self._opened = time.monotonic()
        return store

    def _due_in(self) -> float:
        """Seconds until the file is too old; for ever where it is empty."""
        if self._store is None or not self._store.records:
            return self._settings.rotate_seconds
        return self._opened + self._settings.rotate_seconds - time.monotonic()

    def _rotate_if_due(self) -> None:
        if self._store is None or not self._store.records:
            return
        if self._due_in() <= 0 or self._store.size() >= self._settings.rotate_bytes:
            self._leave()
            self._attempt([])

    def _leave(self) -> None:
        """Closes the file: nothing more is written to it."""
        store, self._store = self._store, None
        if store is not None:
            with contextlib.suppress(sqlite3.Error):  # its journal stays, and whoever opens it next reads that
                store.close()

    def _settle(self, entries: Sequence[Entry], *, written: bool) -> None:
        waiting = [entry.done for entry in entries if entry.done is not None]
        if not written:
            unheard = sum(len(entry.records) for entry in entries if entry.done is None)
            self._metrics.log_records_lost.labels("write_failed").inc(unheard)
        if waiting:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                waiting[0].get_loop().call_soon_threadsafe(_tell, waiting, written)


def _bytes_in(directory: Path) -> int:
    total = 0
    for folder, _, names in os.walk(directory):  # passes over folders that a compaction takes away meanwhile
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += (Path(folder) / name).stat().st_size
    return total


def _tell(waiting: Sequence[asyncio.Future[bool]], written: bool) -> None:
    for done in waiting:
        if not done.done():
            done.set_result(written)
