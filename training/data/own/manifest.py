"""A CSV -> a manifest: what is in one group or in the same bytes stays in one part."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.decision import Modality, TaskSpec
from training.data.connected_rows import connected_groups
from training.data.manifest import SPLITS, Manifest, PrivilegedGroup, Row, Split
from training.data.own.columns import Columns
from training.data.own.rows import OwnRows, read_rows
from training.data.own.splits import assign
from training.data.own.table import read_table
from training.data.own.tasks import LabelColumn, read_label_column
from training.data.validation import Fault, ManifestError

MOST_SLICE_VALUES = 50


@dataclass(frozen=True)
class Division:
    """How rows are divided: into folds, or into train, val and test.

    Attributes:
        val: share of the rows; ignored with folds.
        test: likewise.
        folds: 0 divides into train, val and test.
        seed: of the division.
    """

    val: float = 0.15
    test: float = 0.2
    folds: int = 0
    seed: int = 0

    @property
    def shares(self) -> tuple[float, ...]:
        return (1 / self.folds,) * self.folds if self.folds else (1 - self.val - self.test, self.val, self.test)


@dataclass(frozen=True)
class OwnManifest:
    """The manifest, what was left out or joined on the way, and warnings."""

    manifest: Manifest
    unlabelled: int
    joined: int
    warnings: tuple[Fault, ...]


def manifest_of_csv(
    path: Path, columns: Columns, media_root: Path, division: Division, *, name: str, delimiter: str = ","
) -> OwnManifest:
    """The manifest of a CSV.

    Args:
        path: of the CSV.
        columns: which column means what.
        media_root: where relative paths of clips start.
        division: into which parts the rows go, where the CSV does not say.
        name: of the manifest.
        delimiter: between cells.

    Raises:
        ManifestError: every fault, by line and column of the CSV.
    """
    records = read_table(path, columns.used, delimiter=delimiter)
    read = [read_label_column(path.name, task, records, columns) for task in columns.labels]
    task_faults = [fault for _, faults in read for fault in faults]
    tasks = [task for task, _ in read if task is not None]
    own = read_rows(path.name, records, columns, tasks, media_root)
    faults = task_faults + own.faults
    if not faults and not own.rows:
        faults = [Fault(path.name, None, ", ".join(columns.labels.values()), "no row has a label")]
    if faults:
        raise ManifestError(faults)
    contents = _contents(own.rows, media_root)
    rows, joined = _with_whole_groups(own.rows, contents)
    warnings = list(_warnings(path.name, own, contents, columns))
    if columns.split is None:
        rows = _divided(path.name, rows, columns, tasks, division)
    manifest = Manifest(
        name=name,
        tasks=tuple(_spec(task, rows) for task in tasks),
        privileged_groups=tuple(
            PrivilegedGroup(name=group, features=tuple(feature.name for feature in features))
            for group, features in columns.privileged.items()
        ),
        folds=division.folds if columns.split is None else 0,
        media_root=str(media_root.resolve()),
        rows=tuple(rows),
    )
    return OwnManifest(manifest, own.unlabelled, joined, tuple(warnings))


def counts(manifest: Manifest) -> dict[str, Any]:
    """Part -> rows and groups; and of each task, its labels' rows and groups."""
    parts: dict[str, list[Row]] = defaultdict(list)
    for row in manifest.rows:
        parts[row.split if row.split is not None else f"fold {row.fold}"].append(row)
    order = [*SPLITS, *(f"fold {n}" for n in range(manifest.folds))]
    return {
        part: {**_sizes(parts[part]), **{task.name: _of_task(task, parts[part]) for task in manifest.tasks}}
        for part in order
        if part in parts
    }


def _of_task(task: TaskSpec, rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    return {label: _sizes([row for row in rows if label in _labels(row, task.name)]) for label in task.labels}


def _sizes(rows: Sequence[Row]) -> dict[str, int]:
    return {"rows": len(rows), "groups": len({row.group for row in rows})}


def _labels(row: Row, task: str) -> list[str]:
    label = row.labels.get(task, [])
    return [label] if isinstance(label, str) else label


def _spec(task: LabelColumn, rows: Sequence[Row]) -> TaskSpec:
    labelled = [row for row in rows if task.task in row.labels]
    held = {
        Modality.VIDEO: any(row.video is not None for row in labelled),
        Modality.TEXT: any(row.texts for row in labelled),
    }
    return task.spec(tuple(modality for modality, there in held.items() if there))


def _contents(rows: Sequence[Row], media_root: Path) -> list[str | None]:
    """What tells each row's clip from the others: equal for the same bytes; None without a clip."""
    paths = [None if row.video is None else (media_root / row.video).resolve() for row in rows]
    sizes = Counter({path: path.stat().st_size for path in paths if path is not None})
    shared = Counter(sizes.values())
    digests = {path: _digest(path) if shared[size] > 1 else str(path) for path, size in sizes.items()}
    return [None if path is None else digests[path] for path in paths]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _with_whole_groups(rows: Sequence[Row], contents: Sequence[str | None]) -> tuple[list[Row], int]:
    """Rows under the name of all that must stay together: a group, a clip's bytes, a title that is all of a row."""
    told_apart = [row.model_copy(update={"video": content}) for row, content in zip(rows, contents, strict=True)]
    whole = connected_groups(told_apart)
    joined = len({row.group for row in rows}) - len(set(whole))
    return [row.model_copy(update={"group": group}) for row, group in zip(rows, whole, strict=True)], joined


def _divided(
    file: str, rows: Sequence[Row], columns: Columns, tasks: Sequence[LabelColumn], division: Division
) -> list[Row]:
    classes = [[f"{task.task}={label}" for task in tasks for label in _labels(row, task.task)] for row in rows]
    parts = assign([row.group for row in rows], classes, division.shares, division.seed)
    if parts.scarce:
        raise ManifestError(_scarce(file, parts.scarce, columns, len(division.shares)))
    fold = bool(division.folds)
    return [
        row.model_copy(
            update={"fold": parts.part_of[row.group]} if fold else {"split": _split(parts.part_of[row.group])}
        )
        for row in rows
    ]


def _split(part: int) -> Split:
    return SPLITS[part]


def _scarce(file: str, scarce: dict[str, int] | Any, columns: Columns, parts: int) -> Iterable[Fault]:
    for kind, groups in scarce.items():
        task, _, label = kind.partition("=")
        message = (
            f"label {label!r} of task {task} stands in {groups} groups, of which each of {parts} parts needs one: "
            "collect more, or leave those rows unlabelled"
        )
        yield Fault(file, None, columns.labels[task], message)


def _warnings(file: str, own: OwnRows, contents: Sequence[str | None], columns: Columns) -> Iterator[Fault]:
    if columns.group is None:
        message = (
            "no --group-column: every row counts as its own group. Rows of one author or source must share a group"
        )
        yield Fault(file, None, "", message, "warning")
    first: dict[tuple[str | None, tuple[tuple[str, str], ...]], int] = {}
    for n, (row, content) in enumerate(zip(own.rows, contents, strict=True)):
        key = content, tuple(sorted(row.texts.items()))
        before = first.setdefault(key, n)
        for task, label in row.labels.items():
            other = own.rows[before].labels.get(task, label)
            if other != label:
                message = f"the same clip and texts as in line {own.lines[before]}, but {label!r}, there {other!r}"
                yield Fault(file, own.lines[n], columns.labels[task], message, "warning")
    for name, column in columns.slices.items():
        values = {row.slices[name] for row in own.rows if name in row.slices}
        if len(values) > MOST_SLICE_VALUES:
            yield Fault(
                file, None, column, f"slice {name} has {len(values)} values: few rows will be in each", "warning"
            )
