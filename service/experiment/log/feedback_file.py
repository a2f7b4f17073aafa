"""Labels in bulk: a CSV, JSONL or Parquet file -> a file of the log, as if they had come by ``POST /feedback``.

The columns are the fields of ``POST /feedback``. Labels of a CSV are separated by ``|``; its attributes are a JSON
object. ``feedback_id`` may lack: it is then made of the row, so that the same file twice counts once. ``time_ms``
(milliseconds since 1970, UTC) says when it was told; without it, now. What no row may hold by HTTP, none may hold here;
only the tasks are not compared with those of an arm.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import itertools
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.decision_log import Feedback
from service.experiment.log.feedback import read_item
from service.experiment.log.files import LogFile, WriterLock, new_writer
from service.experiment.log.store import Store

_AT_ONCE = 1000
_DAY_MS = 86_400_000
_NUMBERS = {"sampled_with": float, "views": int, "time_ms": int}
MOST_FAULTS = 20


@dataclass
class Imported:
    """What an import did: rows taken, and the first faults by row number, from 1."""

    taken: int = 0
    faults: dict[int, str] = field(default_factory=dict)


def import_feedback(file: Path, directory: Path) -> Imported:
    """Takes every row of the file, or none where one is at fault.

    Args:
        file: by its ending: ``.csv``, ``.jsonl`` or ``.parquet``.
        directory: of the log.

    Raises:
        ValueError: it has another ending, or is not what its ending says.
        ImportError: it is Parquet, and the extra 'log' is not installed.
        OSError, sqlite3.Error: it cannot be read, or the log not be written.
    """
    done, now = Imported(), time.time_ns() // 1_000_000
    for number, row in enumerate(_rows(file), 1):
        found = _record(row, now)
        if isinstance(found, str) and len(done.faults) < MOST_FAULTS:
            done.faults[number] = found
    if done.faults:
        return done
    directory.mkdir(parents=True, exist_ok=True)
    writer = new_writer(f"import-{socket.gethostname()}")
    lock = WriterLock(directory, writer)
    try:
        store = Store(LogFile(writer, 1, directory).path)
        try:
            records = (record for row in _rows(file) if isinstance(record := _record(row, now), Feedback))
            while some := list(itertools.islice(records, _AT_ONCE)):
                done.taken += store.write(some)
        finally:
            store.close()
    finally:
        lock.release()
    return done


def _record(row: dict[str, Any], now_ms: int) -> Feedback | str:
    if None in row:
        return "it has more cells than the header"
    given = {name: value for name, value in row.items() if value is not None}
    if "feedback_id" not in given:
        given["feedback_id"] = hashlib.sha256(json.dumps(given, sort_keys=True, default=str).encode()).hexdigest()
    time_ms = given.pop("time_ms", now_ms)
    if type(time_ms) is not int or not 0 <= time_ms <= now_ms + _DAY_MS:
        return "time_ms: milliseconds since 1970, UTC, as a whole number, and not to come"
    item = read_item(given)
    return item if isinstance(item, str) else item.record(time_ms)


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    if file.suffix == ".csv":
        with file.open(newline="", encoding="utf-8") as text:
            yield from (_of_csv(row) for row in csv.DictReader(text))
    elif file.suffix == ".jsonl":
        with file.open(encoding="utf-8") as text:
            for line in text:
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("each line must be a JSON object")
                yield row
    elif file.suffix == ".parquet":
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(file).iter_batches(_AT_ONCE):
            yield from (_of_parquet(row) for row in batch.to_pylist())
    else:
        raise ValueError("the file must end in .csv, .jsonl or .parquet")


def _of_csv(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name: value for name, value in row.items() if value not in ("", None)}
    if isinstance(labels := row.get("labels"), str):
        found["labels"] = labels.split("|") if labels else []
    for name, kind in _NUMBERS.items():
        if name in found:
            with contextlib.suppress(ValueError):  # left as it is: the check says what is wrong
                found[name] = kind(found[name])
    if "attributes" in found:
        with contextlib.suppress(ValueError):
            found["attributes"] = json.loads(found["attributes"])
    return found


def _of_parquet(row: dict[str, Any]) -> dict[str, Any]:
    if isinstance(attributes := row.get("attributes"), list):  # an Arrow map
        row["attributes"] = dict(attributes)
    elif isinstance(attributes, dict):  # a struct: what a row lacks is null
        row["attributes"] = {name: value for name, value in attributes.items() if value is not None}
    elif isinstance(attributes, str):
        row["attributes"] = json.loads(attributes)
    return row
