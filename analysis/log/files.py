"""The files of a decision log, and SQLite's rows as Arrow.

DuckDB reads Parquet itself. Its reader of SQLite is an extension that is fetched over the network at run time, so
SQLite goes through the standard library.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis.errors import LogNotFound, LogUnreadable
from contract.decision_log import RECORDS, Record

_ARROW = {"TEXT": pa.string(), "INTEGER": pa.int64(), "REAL": pa.float64()}


@dataclass(frozen=True)
class LogFiles:
    """The files of a log.

    Attributes:
        sqlite: every ``*.sqlite``, in any folder below; a file may lack tables.
        parquet: table -> its Parquet files.
    """

    sqlite: tuple[Path, ...]
    parquet: dict[str, tuple[Path, ...]]


def find_files(folder: Path) -> LogFiles:
    """The log's files below ``folder``.

    Raises:
        LogNotFound: there is no such folder, or neither SQLite nor Parquet files in it.
    """
    if not folder.is_dir():
        raise LogNotFound(f"{folder}: no such folder")
    sqlite = tuple(sorted(folder.rglob("*.sqlite")))
    parquet = {
        record.table: tuple(sorted(p for p in folder.rglob("*.parquet") if record.table in p.relative_to(folder).parts))
        for record in RECORDS
    }
    if not sqlite and not any(parquet.values()):
        tables = ", ".join(record.table for record in RECORDS)
        raise LogNotFound(f"{folder}: neither *.sqlite nor <table>/date=.../*.parquet (tables: {tables})")
    return LogFiles(sqlite, parquet)


def read_sqlite(path: Path, record: type[Record]) -> pa.Table | None:
    """The rows of one table; None where the file lacks it. A file that the service still writes to may be read.

    Raises:
        LogUnreadable: it is no SQLite file, it is damaged, or a column is missing.
    """
    columns = record.columns()
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            there = {row[1] for row in database.execute(f"PRAGMA table_info({record.table})")}
            if not there:
                return None
            if missing := [name for name in columns if name not in there]:
                raise LogUnreadable(f"{path}: table {record.table} lacks the column {missing[0]}")
            names = ", ".join(f'"{name}"' for name in columns)
            rows = database.execute(f"SELECT {names} FROM {record.table}").fetchall()
    except sqlite3.Error as error:
        raise LogUnreadable(f"{path}: {error}") from error
    return to_arrow(record, rows, str(path))


def to_arrow(record: type[Record], rows: list[tuple[Any, ...]], where: str) -> pa.Table:
    """Rows in the order of the record's columns as an Arrow table.

    Raises:
        LogUnreadable: a value is not of its column's type.
    """
    columns = record.columns()
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    arrays = []
    for (name, kind), column in zip(columns.items(), values, strict=True):
        try:
            plain = [int(v) if isinstance(v, bool) else v for v in column] if kind == "INTEGER" else column
            arrays.append(pa.array(plain, type=_ARROW[kind]))
        except (pa.ArrowException, TypeError) as error:
            raise LogUnreadable(f"{where}: column {record.table}.{name} is not {kind}") from error
    return pa.table(arrays, names=list(columns))
