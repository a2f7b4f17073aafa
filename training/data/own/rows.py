"""Records of a CSV -> rows of a manifest, not yet split; every fault by line and column."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.data.manifest import SPLITS, Row, Split
from training.data.own.columns import Columns, Feature
from training.data.own.table import Record
from training.data.own.tasks import LabelColumn, is_missing
from training.data.validation import Fault

MOST_VALUES = 12
"""A slice's column of numbers with more different values than this is cut into thirds."""
_SPLITS: dict[str, Split] = {**{name: name for name in SPLITS}, "validation": "val", "valid": "val", "dev": "val"}


@dataclass(frozen=True)
class OwnRows:
    """What the records say.

    Attributes:
        rows: those with a label; ``split`` is set where the CSV has it, and ``group`` is the row's own id without one.
        lines: of each row, the line of the CSV.
        unlabelled: how many records hold no label at all, and are left out.
        faults: every one; errors and warnings.
    """

    rows: list[Row]
    lines: list[int]
    unlabelled: int
    faults: list[Fault]


def read_rows(
    file: str, records: Sequence[Record], columns: Columns, tasks: Sequence[LabelColumn], media_root: Path
) -> OwnRows:
    """The rows of all records that hold a label."""
    slices = {name: _slice_reader(records, column) for name, column in columns.slices.items()}
    found = OwnRows([], [], 0, [])
    unlabelled, seen = 0, dict[str, int]()
    for number, record in enumerate(records, start=1):
        faults: list[Fault] = []
        row = _row(record, number, columns, tasks, slices, lambda *fault, to=faults: to.append(Fault(file, *fault)))
        faults += [Fault(file, record.line, *fault) for fault in _clip_faults(row["video"], columns, media_root)]
        if row["video"] is None and not row["texts"]:
            faults.append(Fault(file, record.line, _inputs(columns), "neither a clip nor any text"))
        if row["id"] in seen:
            column = columns.id or ""
            faults.append(Fault(file, record.line, column, f"the same id as in line {seen[row['id']]}"))
        seen.setdefault(row["id"], record.line)
        if not row["labels"] and not faults:
            unlabelled += 1
            continue
        found.faults.extend(faults)
        if not faults:
            found.rows.append(Row(**row))
            found.lines.append(record.line)
    return OwnRows(found.rows, found.lines, unlabelled, found.faults)


def _row(
    record: Record,
    number: int,
    columns: Columns,
    tasks: Sequence[LabelColumn],
    slices: dict[str, Callable[[str], str]],
    fault: Callable[..., None],
) -> dict[str, Any]:
    cells = record.cells
    texts = {"title": columns.title, "overlay_text": columns.overlay_text}
    name = cells[columns.id] if columns.id else f"row{number}"
    if not name:
        fault(record.line, columns.id, "the row has no id")
    group = cells[columns.group] if columns.group else f"row {name}"
    if not group:
        fault(record.line, columns.group, "the row has no group")
    labels = {task.task: task.label(cells[columns.labels[task.task]]) for task in tasks}
    return {
        "id": name,
        "video": (cells[columns.video] or None) if columns.video else None,
        "texts": {field: cells[column] for field, column in texts.items() if column and cells[column]},
        "labels": {task: label for task, label in labels.items() if label is not None},
        "privileged": _privileged(record, columns, fault),
        "split": _split(record, columns, fault),
        "group": group,
        "slices": {
            name: read(cells[columns.slices[name]])
            for name, read in slices.items()
            if not is_missing(cells[columns.slices[name]])
        },
        "view_count": _number(record, columns.views, fault, least=0.0) if columns.views else None,
    }


def _inputs(columns: Columns) -> str:
    return ", ".join(c for c in (columns.video, columns.title, columns.overlay_text) if c)


def _clip_faults(video: str | None, columns: Columns, media_root: Path) -> Iterator[tuple[str, str]]:
    if video is None:
        return
    column = columns.video or ""
    if "://" in video:
        yield column, f"{video!r} is a URL: fetch the clips first, and name files"
    elif not (media_root / video).is_file():
        yield column, f"there is no file {video!r} under {media_root}"


def _split(record: Record, columns: Columns, fault: Callable[..., None]) -> Split | None:
    if columns.split is None:
        return None
    cell = record.cells[columns.split]
    split = _SPLITS.get(cell.casefold())
    if split is None:
        fault(record.line, columns.split, f"{cell!r} is none of {', '.join(SPLITS)}")
    return split


def _privileged(record: Record, columns: Columns, fault: Callable[..., None]) -> dict[str, dict[str, float | None]]:
    """A group of which every value is missing is absent, as a source that was never asked."""
    groups = {
        group: {feature.name: _feature(record, feature, fault) for feature in features}
        for group, features in columns.privileged.items()
    }
    return {group: values for group, values in groups.items() if any(value is not None for value in values.values())}


def _feature(record: Record, feature: Feature, fault: Callable[..., None]) -> float | None:
    value = _number(record, feature.column, fault, least=0.0 if feature.log else -math.inf)
    return value if value is None or not feature.log else math.log1p(value)


def _number(record: Record, column: str, fault: Callable[..., None], *, least: float) -> float | None:
    cell = record.cells[column]
    if is_missing(cell):
        return None
    try:
        value = float(cell)
    except ValueError:
        fault(record.line, column, f"{cell!r} is not a number; leave the cell empty where it is not known")
        return None
    if not math.isfinite(value) or value < least:
        fault(record.line, column, f"{cell} is not {'finite' if least < 0 else f'a number of at least {least:g}'}")
        return None
    return value


def _slice_reader(records: Sequence[Record], column: str) -> Callable[[str], str]:
    """A cell -> the slice's value: as it is written, or a third of many different numbers."""
    cells = [record.cells[column] for record in records if not is_missing(record.cells[column])]
    if len(set(cells)) <= MOST_VALUES:
        return lambda cell: cell
    try:
        numbers = np.asarray([float(cell) for cell in cells])
    except ValueError:
        return lambda cell: cell
    first, second = np.quantile(numbers, [1 / 3, 2 / 3])

    def third(cell: str) -> str:
        value = float(cell)
        if value <= first:
            return f"low, to {first:.4g}"
        return f"middle, to {second:.4g}" if value <= second else f"high, above {second:.4g}"

    return third
