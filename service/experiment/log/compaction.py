"""Closed SQLite files -> ``<table>/date=YYYY-MM-DD/<file>.parquet``; and what is too old goes.

It may be killed at any moment. Each Parquet file is written beside its name, brought to the disk and renamed; the
SQLite file goes when all of its Parquet files have their names. What is made of a file bears its name, which comes
never again: done once more, it makes the same files. For a moment a record may be in both: readers go by its key.
"""

from __future__ import annotations

import datetime
import os
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.decision_log import RECORDS, Record
from service.experiment.log.files import LogFile, alone_in, clear_debris, closed_files, fsync_directory
from service.experiment.log.reading import rows_of
from service.experiment.log.store import connect

DAY_MS = 86_400_000
_TYPES = {"TEXT": "string", "INTEGER": "int64", "REAL": "float64"}
_UNFINISHED = ".part"


@dataclass
class Compacted:
    """What a compaction did.

    Attributes:
        files: SQLite files that are Parquet now.
        records: table -> how many records they held.
        unreadable: SQLite files that could not be read, and why; they stay.
        expired: Parquet files that went for their age.
        kept_unshipped: Parquet files that are too old and stay, since they were not shipped yet.
    """

    files: list[str] = field(default_factory=list)
    records: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    expired: int = 0
    kept_unshipped: int = 0


def compact(
    directory: Path, *, keep_days: int | None = None, only_shipped: bool = False, today: datetime.date | None = None
) -> Compacted:
    """Makes Parquet of every file that nobody writes to any more.

    Args:
        directory: of the log.
        keep_days: Parquet of earlier days goes; None: everything stays.
        only_shipped: of that, only what was shipped.
        today: of the reckoning; None: the current day, UTC.

    Raises:
        CompactionRunning: another process does.
        OSError: the disk does not take it; what was done stays done.
    """
    done = Compacted()
    with alone_in(directory):
        clear_debris(directory)
        _clear_unfinished(directory)
        for file in closed_files(directory):
            try:
                _compact_file(directory, file, done)
            except (sqlite3.Error, ValueError, OverflowError) as error:  # one bad file keeps none of the others back
                done.unreadable[file.path.name] = str(error)
        if keep_days is not None:
            first = (today or datetime.datetime.now(datetime.UTC).date()) - datetime.timedelta(days=keep_days)
            _expire(directory, first, only_shipped, done)
    return done


def shipped_mark(part: Path) -> Path:
    """The file beside a Parquet file that says where it was shipped to."""
    return part.with_name(f".{part.name}.shipped")


def _compact_file(directory: Path, file: LogFile, done: Compacted) -> None:
    counts: Counter[str] = Counter()
    with closing(connect(file.path, must_exist=True)) as connection:
        for kind in RECORDS:
            for day in _days(connection, kind):
                rows = rows_of(connection, kind, "WHERE time_ms / ? = ? ORDER BY time_ms, rowid", DAY_MS, day)
                _write(_part(directory, kind, day, file.stem), kind, rows)
                counts[kind.table] += len(rows)
    file.remove()
    fsync_directory(directory)
    done.files.append(file.path.name)
    done.records = dict(Counter(done.records) + counts)


def _days(connection: sqlite3.Connection, kind: type[Record]) -> list[int]:
    found = connection.execute(f'SELECT DISTINCT time_ms / {DAY_MS} FROM "{kind.table}" ORDER BY 1')
    return [row[0] for row in found]


def _part(directory: Path, kind: type[Record], day: int, stem: str) -> Path:
    date = datetime.date(1970, 1, 1) + datetime.timedelta(days=day)
    return directory / kind.table / f"date={date.isoformat()}" / f"{stem}.parquet"


def _write(part: Path, kind: type[Record], rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    there = {name: kind.columns()[name] for name in rows[0]}
    schema = pa.schema([(name, pa.type_for_alias(_TYPES[sql])) for name, sql in there.items()])
    made = not part.parent.is_dir()
    part.parent.mkdir(parents=True, exist_ok=True)
    unfinished = part.with_name(f"{part.name}{_UNFINISHED}")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), unfinished, compression="zstd")
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.rename(part)
    fsync_directory(part.parent)
    if made:
        fsync_directory(part.parent.parent)
        fsync_directory(part.parent.parent.parent)


def _clear_unfinished(directory: Path) -> None:
    for kind in RECORDS:
        for path in (directory / kind.table).glob(f"date=*/*{_UNFINISHED}"):
            path.unlink()


def _expire(directory: Path, first: datetime.date, only_shipped: bool, done: Compacted) -> None:
    for kind in RECORDS:
        for folder in sorted((directory / kind.table).glob("date=*")):
            if folder.name.removeprefix("date=") >= first.isoformat():
                continue
            for part in folder.glob("*.parquet"):
                if only_shipped and not shipped_mark(part).exists():
                    done.kept_unshipped += 1
                    continue
                part.unlink()
                shipped_mark(part).unlink(missing_ok=True)
                done.expired += 1
            if not any(folder.glob("*.parquet")):
                shutil.rmtree(folder)
