"""Labels that come as files: JSON lines, CSV or Parquet, with the columns of ``contract.decision_log.Feedback``.

For a file that people fill in, three things are easier than in a record: ``video_id`` in place of ``video_hash``,
``labels`` separated by ``;``, and no ``feedback_id``: a row's own content names it, so the same file read twice counts
once.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from analysis.errors import FeedbackUnreadable
from contract.decision_log import Feedback, name_hash

_NESTED = ("labels", "attributes")


def read_label_file(path: Path) -> list[Feedback]:
    """The feedback of one file.

    Raises:
        FeedbackUnreadable: it is missing or damaged, its ending is none of .jsonl, .csv and .parquet, or a row is no
            feedback: the message names the line and the column.
    """
    read = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}.get(path.suffix)
    if read is None:
        raise FeedbackUnreadable(f"{path}: labels are read from .jsonl, .csv and .parquet")
    found = []
    try:
        for line, row in read(path):
            found.append(_feedback(row, f"{path}, line {line}"))
    except (OSError, pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
        raise FeedbackUnreadable(f"{path}: {str(error).splitlines()[0]}") from error
    return found


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line, text in enumerate(stream, start=1):
            if text.strip():
                try:
                    yield line, json.loads(text)
                except ValueError as error:
                    raise FeedbackUnreadable(f"{path}, line {line}: no JSON ({error})") from error


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        for row in reader:
            if None in row:
                where = f"{path}, line {reader.line_num}"
                raise FeedbackUnreadable(f"{where}: more cells than the header has: labels are separated by ;")
            yield reader.line_num, {name: value for name, value in row.items() if value not in ("", None)}


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as stream:
        rows = pq.read_table(stream).to_pylist()
    for line, row in enumerate(rows, start=1):
        yield line, {name: value for name, value in row.items() if value is not None}


def _feedback(row: Any, where: str) -> Feedback:
    if not isinstance(row, dict):
        raise FeedbackUnreadable(f"{where}: not an object")
    values = dict(row)
    if "video_id" in values:
        values["video_hash"] = name_hash(str(values.pop("video_id")))
    for name in _NESTED:
        if isinstance(text := values.get(name), str):
            values[name] = _nested(text, where, name)
    if "feedback_id" not in values:
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
        values["feedback_id"] = hashlib.sha256(canonical.encode()).hexdigest()
    try:
        feedback = Feedback.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        raise FeedbackUnreadable(f"{where}: {'.'.join(map(str, fault['loc'])) or 'row'}: {fault['msg']}") from error
    if feedback.decision_id is None and feedback.video_hash is None:
        raise FeedbackUnreadable(f"{where}: decision_id, video_hash or video_id must name the video")
    return feedback


def _nested(text: str, where: str, name: str) -> Any:
    if text[:1] not in "[{":
        return tuple(part.strip() for part in text.split(";") if part.strip())
    try:
        return json.loads(text)
    except ValueError as error:
        raise FeedbackUnreadable(f"{where}: {name} is no JSON") from error
