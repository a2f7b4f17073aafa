"""A manifest on disk: a directory with ``manifest.json`` and its rows.

    manifest.json    version, name, tasks, privileged groups, folds, media_root, rows_file
    rows.jsonl       one row a line, or
    rows.parquet     one row a record; dictionaries as maps (structs are read too), labels as lists

A ``media_root`` that is not absolute starts at the directory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from contract.decision import TaskKind, TaskSpec
from contract.frozen import FrozenDocument
from training.atomic_write import replacing
from training.config import field_faults
from training.data.manifest import Manifest, PrivilegedGroup, Row
from training.data.validation import Fault, ManifestError

HEADER_FILE = "manifest.json"
_MAPS = ("texts", "labels", "privileged", "slices")
ROW_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        ("video", pa.string()),
        ("window_ms", pa.list_(pa.float64())),
        ("texts", pa.map_(pa.string(), pa.string())),
        ("labels", pa.map_(pa.string(), pa.list_(pa.string()))),
        ("privileged", pa.map_(pa.string(), pa.map_(pa.string(), pa.float64()))),
        ("split", pa.string()),
        ("fold", pa.int64()),
        pa.field("group", pa.string(), nullable=False),
        ("slices", pa.map_(pa.string(), pa.string())),
        ("view_count", pa.float64()),
    ]
)


class Header(FrozenDocument):
    """``manifest.json``."""

    version: Literal[1] = 1
    name: str
    tasks: tuple[TaskSpec, ...]
    privileged_groups: tuple[PrivilegedGroup, ...] = ()
    folds: int = 0
    media_root: str = "."
    rows_file: str = Field(pattern=r"^[^/\\]+\.(jsonl|parquet)$")


def write_manifest(manifest: Manifest, directory: Path, format: Literal["jsonl", "parquet"] = "jsonl") -> Path:
    """The path of the ``manifest.json`` written. Media are not copied.

    Args:
        manifest: what to write.
        directory: made where it is missing. A media root inside it is written relative to it.
        format: of the rows.
    """
    directory.mkdir(parents=True, exist_ok=True)
    rows_file = f"rows.{format}"
    with replacing(directory / rows_file) as partial:
        if format == "jsonl":
            with partial.open("w", encoding="utf-8") as file:
                for row in manifest.rows:
                    file.write(json.dumps(row.model_dump(mode="python"), ensure_ascii=False, sort_keys=True) + "\n")
        else:
            pq.write_table(pa.Table.from_pylist([row_record(row) for row in manifest.rows], schema=ROW_SCHEMA), partial)
    header = Header(
        name=manifest.name,
        tasks=manifest.tasks,
        privileged_groups=manifest.privileged_groups,
        folds=manifest.folds,
        media_root=_portable_root(manifest, directory),
        rows_file=rows_file,
    )
    path = directory / HEADER_FILE
    path.write_text(json.dumps(header.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    return path


def read_manifest(path: Path) -> Manifest:
    """The manifest of a directory (or of its ``manifest.json``).

    Only its form is checked here; ``training.data.validation.validate`` checks what it says.

    Raises:
        ManifestError: every row that cannot be read, by file, row and column.
    """
    directory = path.parent if path.name == HEADER_FILE else path
    header = _read_header(directory / HEADER_FILE)
    rows_path = directory / header.rows_file
    if not rows_path.is_file():
        message = f"there is no {header.rows_file} beside it"
        raise ManifestError([Fault(str(directory / HEADER_FILE), None, "rows_file", message)])
    rows: list[Row] = []
    faults: list[Fault] = []
    records = _json_records(rows_path) if rows_path.suffix == ".jsonl" else _parquet_records(rows_path, header)
    for number, record in records:
        if isinstance(record, Fault):
            faults.append(record)
            continue
        try:
            rows.append(Row.model_validate(record))
        except ValidationError as error:
            faults += _faults_of(error, rows_path.name, number)
    if faults:
        raise ManifestError(faults)
    try:
        return Manifest(
            name=header.name,
            tasks=header.tasks,
            privileged_groups=header.privileged_groups,
            folds=header.folds,
            media_root=str((directory / header.media_root).resolve()),
            rows_file=header.rows_file,
            rows=tuple(rows),
        )
    except ValidationError as error:
        raise ManifestError(_faults_of(error, str(directory / HEADER_FILE), None)) from None


def _read_header(path: Path) -> Header:
    try:
        return Header.model_validate_json(path.read_bytes())
    except OSError as error:
        message = f"cannot be read ({error.strerror}): a manifest is a folder that holds this file"
        raise ManifestError([Fault(str(path), None, "", message)]) from None
    except ValidationError as error:
        raise ManifestError(_faults_of(error, str(path), None)) from None


def _faults_of(error: ValidationError, file: str, row: int | None) -> list[Fault]:
    return [Fault(file, row, field, message) for field, message in field_faults(error)]


def _portable_root(manifest: Manifest, directory: Path) -> str:
    root = Path(manifest.media_root).resolve()
    if root.is_relative_to(directory.resolve()):
        return root.relative_to(directory.resolve()).as_posix()
    return str(root)


def _json_records(path: Path) -> Iterator[tuple[int, object]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield number, json.loads(line)
            except ValueError as error:
                at = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
                yield number, Fault(path.name, number, "", f"not JSON{at}")


def _parquet_records(path: Path, header: Header) -> Iterator[tuple[int, object]]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError):
        raise ManifestError([Fault(path.name, None, "", "not a Parquet file")]) from None
    single = {task.name for task in header.tasks if task.kind is not TaskKind.MULTILABEL}
    number = 0
    for batch in table.to_batches():
        for record in batch.to_pylist():
            number += 1
            yield number, row_fields(record, single)


def row_record(row: Row) -> dict[str, Any]:
    """The row as a record of ``ROW_SCHEMA``."""
    fields = row.model_dump(mode="python")
    fields["labels"] = {k: v if isinstance(v, list) else [v] for k, v in row.labels.items()}
    fields["privileged"] = {group: list(values.items()) for group, values in row.privileged.items()}
    return {k: list(v.items()) if k in _MAPS else v for k, v in fields.items()}


def row_fields(record: dict[str, Any], single_label_tasks: set[str]) -> dict[str, Any]:
    """The fields of ``Row`` in a Parquet record; tasks that are not multilabel get one label, not a list."""
    fields = {k: _mapping(v) if k in _MAPS else v for k, v in record.items()}
    if isinstance(fields.get("privileged"), dict):
        fields["privileged"] = {k: _mapping(v, keep_null=True) for k, v in fields["privileged"].items()}
    for task, label in (fields.get("labels") or {}).items():
        if task in single_label_tasks and isinstance(label, list) and len(label) == 1:
            fields["labels"][task] = label[0]
    return fields


def _mapping(value: Any, keep_null: bool = False) -> Any:
    """A dictionary of the entries of a map, a struct or a null column. In a struct null means absent."""
    if value is None:
        return {}
    pairs = value.items() if isinstance(value, dict) else value
    return {k: v for k, v in pairs if keep_null or v is not None}
