"""Every record of a log's directory, whether it lies in a SQLite file, open or closed, or in Parquet; each once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from contract.decision_log import Record, RecordT
from service.experiment.log.files import log_files
from service.experiment.log.store import connect


def read_records(directory: Path, kind: type[RecordT]) -> Iterator[RecordT]:
    """The table's records, in no order. Of several rows of one key the first that is met stands.

    Args:
        directory: of the log.
        kind: of the table.

    Raises:
        sqlite3.Error, OSError: a file cannot be read.
        ImportError: there is Parquet, and the extra 'log' is not installed.
        pydantic.ValidationError: a row is none of this table's.
    """
    seen: set[tuple[Any, ...]] = set()
    for row in _rows(directory, kind):
        key = tuple(row[name] for name in kind.key)
        if key not in seen:
            seen.add(key)
            yield kind.of_row(row)


def rows_of(connection: sqlite3.Connection, kind: type[Record], where: str = "", *values: Any) -> list[dict[str, Any]]:
    """Rows of a table, of the columns that the file has and this version knows.

    Args:
        connection: to a file of the log.
        kind: of the table.
        where: SQL behind the table's name.
        values: for its marks.
    """
    there = {row[1] for row in connection.execute(f'PRAGMA table_info("{kind.table}")')}
    names = [name for name in kind.columns() if name in there]
    if not names:
        return []
    listed = ", ".join(f'"{name}"' for name in names)
    found = connection.execute(f'SELECT {listed} FROM "{kind.table}" {where}', values)
    return [dict(zip(names, row, strict=True)) for row in found]


def _rows(directory: Path, kind: type[Record]) -> Iterator[dict[str, Any]]:
    for file in log_files(directory):
        # A file may be taken up by a compaction meanwhile: it is then read as Parquet, since that is made first.
        try:
            with closing(connect(file.path, must_exist=True)) as connection:
                found = rows_of(connection, kind)
        except sqlite3.OperationalError:
            if file.path.exists():
                raise
            continue
        yield from found
    if parts := sorted((directory / kind.table).glob("date=*/*.parquet")):
        import pyarrow.parquet as pq

        for part in parts:
            yield from pq.ParquetFile(part).read().to_pylist()
