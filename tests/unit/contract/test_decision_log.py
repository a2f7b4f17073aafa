"""The decision log's records: what SQLite keeps of one comes back as it was."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from pydantic import ValidationError

from contract.decision_log import RECORDS, Decision, Exposure, Feedback, Record, TaskRecord, name_hash

DIGEST = name_hash("x")
ID = "0" * 32
TASK = TaskRecord(
    scores={"calm": 0.25, "violent": 0.75}, label="violent", flag_score=0.75, threshold=0.5, flagged=True,
    supported=True, evidence=((120.0, 0.5), (360.0, -1.25)),
)  # fmt: skip
EXAMPLES = (
    Exposure(
        decision_id=ID, time_ms=1, experiment="e", arm="a", forced=True, unit="video_id", unit_hash=DIGEST,
        content_digest=DIGEST,
    ),
    Decision(
        decision_id=ID, time_ms=2, experiment="e", arm="a", code="ok", bundle_digest=DIGEST, input_spec_digest=DIGEST,
        modalities=("video",), frame_times_ms=(0.0, 40.0), tasks={"violence": TASK}, latency_ms=12.5,
        timings_ms={"decode": 8.0}, decode_cpu_s=0.01, bytes=7,
    ),
    Decision(
        decision_id=ID, time_ms=2, experiment="e", arm="b", shadow=True, code="decode_timeout", bundle_digest=DIGEST,
        input_spec_digest=DIGEST, latency_ms=0,
    ),
    Feedback(
        feedback_id="f", time_ms=3, video_hash=DIGEST, task="violence", labels=("violent",), source="audit",
        sampled_with=0.5, views=9, attributes={"country": "de"},
    ),
)  # fmt: skip


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_from_its_table_as_it_was(record: Record) -> None:
    with sqlite3.connect(":memory:") as base:
        base.row_factory = sqlite3.Row
        columns = record.columns()
        base.execute(f"CREATE TABLE {record.table} ({', '.join(f'{n} {t}' for n, t in columns.items())}) STRICT")
        base.execute(f"INSERT INTO {record.table} VALUES ({', '.join('?' * len(columns))})", record.row())
        (row,) = base.execute(f"SELECT * FROM {record.table}").fetchall()
    assert type(record).of_row(dict(row)) == record


def test_keys_are_columns() -> None:
    for kind in RECORDS:
        assert set(kind.key) <= kind.columns().keys()


@pytest.mark.parametrize("wrong", [{"sampled_with": 0.0}, {"labels": "violent"}, {"title": "a text"}, {"views": -1}])
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Feedback.model_validate(EXAMPLES[3].model_dump() | wrong)
