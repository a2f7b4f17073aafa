"""One SQLite file of the log: a group of records is one commit, and is on the disk when ``write`` returns.

``synchronous=FULL`` is what makes that true in WAL mode: under NORMAL a commit may be gone after a loss of power.
"""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from contract.decision_log import RECORDS, Record
from service.experiment.log.files import UNNAMED, fsync_directory

_APPLICATION = 0x43504644
"""``CPFD``: by which ``file`` knows it."""


def connect(path: Path, *, must_exist: bool = False) -> sqlite3.Connection:
    """A connection that commits when it is told to. Raises sqlite3.Error."""
    mode = "rw" if must_exist else "rwc"
    # Its own thread uses it, but for its end: that may be another's.
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )


class Store:
    """A file that this process alone writes to.

    Args:
        path: of a file that is not there yet.

    Raises:
        sqlite3.Error, OSError: it cannot be made there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _make(path)
        self._connection = connect(path, must_exist=True)
        try:
            self._connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            self._connection.close()
            raise
        self.records = 0

    def write(self, records: Iterable[Record]) -> int:
        """Commits the records; those whose keys are there already change nothing.

        Returns:
            How many were new.

        Raises:
            sqlite3.Error, OSError: none of them is there.
            ValueError: one of them cannot be written by its nature; none is there.
        """
        rows: defaultdict[type[Record], list[tuple[object, ...]]] = defaultdict(list)
        for record in records:
            rows[type(record)].append(record.row())
        before = self._connection.total_changes
        with self._connection:  # rolls back where anything fails
            self._connection.execute("BEGIN IMMEDIATE")
            for kind, found in rows.items():
                self._connection.executemany(_insert(kind), found)
        new = self._connection.total_changes - before
        self.records += new
        return new

    def size(self) -> int:
        """Bytes on the disk, what is only in the journal included."""
        return sum(path.stat().st_size for path in (self._path, Path(f"{self._path}-wal")) if path.exists())

    def close(self) -> None:
        """Brings everything into the one file, where the disk lets it; else the journal stays and is as good."""
        self._connection.close()


def _make(path: Path) -> None:
    """The file with its tables. It gets its name once it has them: a reader, or a kill, never meets half a file."""
    unnamed = path.with_name(f"{path.name}{UNNAMED}")
    connection = connect(unnamed)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            for record in RECORDS:
                connection.execute(_table(record))
    finally:
        connection.close()
    with unnamed.open("rb") as file:
        os.fsync(file.fileno())
    unnamed.rename(path)
    fsync_directory(path.parent)


def _table(record: type[Record]) -> str:
    columns = ", ".join(f'"{name}" {kind}' for name, kind in record.columns().items())
    key = ", ".join(f'"{name}"' for name in record.key)
    return f'CREATE TABLE "{record.table}" ({columns}, PRIMARY KEY ({key})) STRICT'


def _insert(record: type[Record]) -> str:
    marks = ", ".join("?" for _ in record.columns())
    return f'INSERT OR IGNORE INTO "{record.table}" VALUES ({marks})'
