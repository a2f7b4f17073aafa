"""A log of a few rows, written by hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from contract.decision_log import RECORDS, Decision, Exposure, Feedback, Record, TaskRecord, name_hash


def decision_id(n: int) -> str:
    return f"{n:032x}"


def exposure(n: int, arm: str, unit: str, **more: Any) -> Exposure:
    values = {"time_ms": 1_000 * n, "experiment": "e", "video_hash": name_hash(f"v{n}")} | more
    return Exposure(
        decision_id=decision_id(n), arm=arm, unit="account_id", unit_hash=name_hash(unit),
        content_digest=name_hash(f"c{n}"), **values,
    )  # fmt: skip


def verdict(n: int, arm: str, p: float, **more: Any) -> Decision:
    task = TaskRecord(
        scores={"fine": 1 - p, "bad": p}, label="bad" if p >= 0.5 else "fine", flag_score=p, threshold=0.5,
        flagged=p >= 0.5, supported=True,
    )  # fmt: skip
    values: dict[str, Any] = {"time_ms": 1_000 * n + 100, "experiment": "e", "code": "ok", "tasks": {"t": task}} | more
    return Decision(
        decision_id=decision_id(n), arm=arm, bundle_digest=name_hash(arm), input_spec_digest=name_hash("spec"),
        latency_ms=100.0, decode_cpu_s=0.1, model_cpu_s=0.2, **values,
    )  # fmt: skip


def label(n: int, name: str, **more: Any) -> Feedback:
    values = {"time_ms": 1_000 * n + 5_000, "feedback_id": f"f{n}", "source": "review"} | more
    if "video_hash" not in values:
        values["decision_id"] = decision_id(n)
    return Feedback(task="t", labels=(name,), **values)


def write(path: Path, records: Iterable[Record]) -> Path:
    """A SQLite file of the records; returns its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        for record in RECORDS:
            columns = ", ".join(f'"{name}" {kind}' for name, kind in record.columns().items())
            database.execute(f"CREATE TABLE IF NOT EXISTS {record.table} ({columns})")
            places = ", ".join("?" * len(record.columns()))
            rows = [one.row() for one in records if isinstance(one, record)]
            database.executemany(f"INSERT INTO {record.table} VALUES ({places})", rows)
    return path.parent
