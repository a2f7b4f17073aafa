"""Records for tests: each unlike any other unless it is told otherwise."""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from contract.decision_log import RECORDS, Decision, Exposure, Feedback

DAY_MS = 86_400_000
NOON = 20_000 * DAY_MS + DAY_MS // 2
"""2024-10-04, noon."""


def exposure(**fields: Any) -> Exposure:
    given = {
        "decision_id": uuid.uuid4().hex,
        "time_ms": NOON,
        "experiment": "e",
        "arm": "student",
        "unit": "content",
        "unit_hash": "1" * 64,
        "content_digest": "2" * 64,
    }
    return Exposure(**given | fields)


def decision(**fields: Any) -> Decision:
    given = {
        "decision_id": uuid.uuid4().hex,
        "time_ms": NOON,
        "experiment": "e",
        "arm": "student",
        "code": "ok",
        "bundle_digest": "3" * 64,
        "input_spec_digest": "4" * 64,
        "latency_ms": 12.5,
    }
    return Decision(**given | fields)


def feedback(**fields: Any) -> Feedback:
    given = {
        "feedback_id": uuid.uuid4().hex,
        "time_ms": NOON,
        "decision_id": uuid.uuid4().hex,
        "task": "violence",
        "labels": ("calm",),
        "source": "review",
    }
    return Feedback(**given | fields)


def keys_in(directory: Path) -> Counter[tuple[str, ...]]:
    """(table, key...) -> how often it is in the SQLite files."""
    found: Counter[tuple[str, ...]] = Counter()
    for path in directory.glob("*.sqlite"):
        connection = sqlite3.connect(path)
        for record in RECORDS:
            rows = connection.execute(f"SELECT {', '.join(record.key)} FROM {record.table}")
            found.update((record.table, *map(str, row)) for row in rows)
        connection.close()
    return found
