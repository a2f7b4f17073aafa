"""The log in DuckDB: three tables, every record once by its key, whatever files it stood in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.errors import LogUnreadable
from analysis.log.files import LogFiles, read_sqlite, to_arrow
from contract.decision_log import RECORDS, Feedback, Record

_TYPES = {"TEXT": "VARCHAR", "INTEGER": "BIGINT", "REAL": "DOUBLE"}
Database = duckdb.DuckDBPyConnection


def open_database(files: LogFiles, feedback: Sequence[Feedback] = ()) -> tuple[Database, dict[str, int]]:
    """The log's tables, and how many rows of each were told twice.

    Args:
        files: of the log.
        feedback: labels that came as files beside it.

    Raises:
        LogUnreadable: a file is damaged, lacks a column, or holds a value of another type.
    """
    database = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    repeated = {}
    for record in RECORDS:
        arrow = [table for path in files.sqlite if (table := read_sqlite(path, record)) is not None]
        if record is Feedback and feedback:
            arrow.append(to_arrow(record, [one.row() for one in feedback], "labels"))
        arrow += [_read_parquet(path, record) for path in files.parquet[record.table]]
        repeated[record.table] = _load(database, record, arrow)
    return database, repeated


def _read_parquet(path: Path, record: type[Record]) -> pa.Table:
    columns = list(record.columns())
    try:
        # One file, not a data set: a folder named date=... is no column.
        with path.open("rb") as stream:
            table = pq.read_table(stream)
    except (pa.ArrowException, OSError) as error:
        raise LogUnreadable(f"{path}: {str(error).splitlines()[0]}") from error
    if missing := [name for name in columns if name not in table.column_names]:
        raise LogUnreadable(f"{path}: table {record.table} lacks the column {missing[0]}")
    return table.select(columns)


def _load(database: Database, record: type[Record], tables: Sequence[pa.Table]) -> int:
    """Makes the record's table; returns how many rows were repeats. Of two rows of a key the earlier one stays."""
    columns = record.columns()
    typed = ", ".join(f'"{name}" {_TYPES[kind]}' for name, kind in columns.items())
    database.execute(f"CREATE TABLE all_{record.table} ({typed})")
    for table in tables:
        database.register("incoming", table)
        try:
            names = ", ".join(f'"{name}"' for name in columns)
            database.execute(f"INSERT INTO all_{record.table} SELECT {names} FROM incoming")
        except duckdb.Error as error:
            raise LogUnreadable(f"table {record.table}: {str(error).splitlines()[0]}") from error
        finally:
            database.unregister("incoming")
    key = ", ".join(f'"{name}"' for name in record.key)
    database.execute(
        f"CREATE TABLE {record.table} AS SELECT * FROM all_{record.table} "
        f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY time_ms) = 1"
    )
    before, after = (count(database, f"SELECT count(*) FROM {name}") for name in (f"all_{record.table}", record.table))
    database.execute(f"DROP TABLE all_{record.table}")
    return before - after


def count(database: Database, query: str, values: Sequence[Any] = ()) -> int:
    """The one number that a query gives."""
    row = database.execute(query, list(values)).fetchone()
    return int(row[0]) if row and row[0] is not None else 0
