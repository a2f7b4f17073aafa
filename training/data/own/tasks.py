"""The values of a label column -> a task, and the label of each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from contract.decision import Modality, TaskKind, TaskSpec
from training.config import field_faults
from training.data.own.columns import Columns
from training.data.own.table import Record
from training.data.validation import Fault

SEPARATOR = "|"
"""Between the labels of a multilabel cell."""
MOST_LABELS = 50
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
"""What an empty cell may be written as, in any case."""
_YES = frozenset({"1", "yes", "true", "y", "t", "positive"})
_NO = frozenset({"0", "no", "false", "n", "f", "negative"})


@dataclass(frozen=True)
class LabelColumn:
    """A task's column read: the kind of task, its labels in order, and each written value's label."""

    task: str
    kind: TaskKind
    labels: tuple[str, ...]
    flag_labels: tuple[str, ...]
    label_of: dict[str, str]

    def label(self, cell: str) -> str | list[str] | None:
        """The label of a cell, a list for a multilabel task; None where it is empty."""
        if self.kind is TaskKind.MULTILABEL:
            parts = None if is_missing(cell) else list(dict.fromkeys(p.strip() for p in cell.split(SEPARATOR)))
            return None if parts is None else [self.label_of[p] for p in parts if p and p != NOTHING]
        return None if is_missing(cell) else self.label_of[written(cell)]

    def spec(self, modalities: tuple[Modality, ...]) -> TaskSpec:
        return TaskSpec(
            name=self.task, kind=self.kind, labels=self.labels, flag_labels=self.flag_labels, modalities=modalities
        )


NOTHING = "-"
"""In a multilabel cell: looked at, and no label holds. An empty cell is not labelled."""


def is_missing(cell: str) -> bool:
    return cell.casefold() in MISSING


def written(cell: str) -> str:
    """The value of a label's cell: ``1.0``, as tables with gaps write it, is ``1``."""
    return {"1.0": "1", "0.0": "0"}.get(cell, cell)


def read_label_column(
    file: str, task: str, records: Sequence[Record], columns: Columns
) -> tuple[LabelColumn | None, list[Fault]]:
    """The column read, or the faults for which it cannot be."""
    column = columns.labels[task]
    cells = [record.cells[column] for record in records if not is_missing(record.cells[column])]
    if task in columns.multilabel:
        values = [p.strip() for cell in cells for p in cell.split(SEPARATOR) if p.strip() not in ("", NOTHING)]
    else:
        values = [written(cell) for cell in cells]
    counts = Counter(values)
    flags = columns.flags.get(task, ())
    message = _fault(task, counts, flags, multilabel=task in columns.multilabel)
    if message:
        return None, [Fault(file, None, column, f"task {task}: {message}")]
    found = _multi(task, counts, flags) if task in columns.multilabel else _single(task, counts, flags)
    try:
        found.spec((Modality.VIDEO,))
    except ValidationError as error:
        return None, [Fault(file, None, column, f"task {task}: {message}") for _, message in field_faults(error)]
    return found, []


def _fault(task: str, counts: Counter[str], flags: tuple[str, ...], *, multilabel: bool) -> str:
    listed = ", ".join(f"{value!r} ({n} rows)" for value, n in counts.most_common(8))
    if len(counts) < 2 and not (multilabel and counts):
        return f"needs two or more values; there is {listed or 'none'}"
    if len(counts) > MOST_LABELS:
        return f"{len(counts)} different values, such as {listed}: this looks like no label"
    unknown = [flag for flag in flags if flag not in counts]
    if unknown:
        return f"--flag names {unknown[0]!r}, which no row has; there are {listed}"
    if not multilabel and flags and set(flags) >= set(counts):
        return f"--flag names every value there is ({listed}): none is left that does not raise the flag"
    if multilabel or flags or _boolean(counts):
        return ""
    return f"which value raises the flag? There are {listed}: give --flag {task}=VALUE"


def _boolean(counts: Counter[str]) -> bool:
    folded = sorted(value.casefold() for value in counts)
    return len(folded) == 2 and any(v in _YES for v in folded) and any(v in _NO for v in folded)


def _single(task: str, counts: Counter[str], flags: tuple[str, ...]) -> LabelColumn:
    if len(counts) != 2:
        labels = tuple(sorted(counts))
        return LabelColumn(task, TaskKind.MULTICLASS, labels, flags, {label: label for label in labels})
    positive = flags[0] if flags else next(value for value in counts if value.casefold() in _YES)
    negative = next(value for value in counts if value != positive)
    named = {negative: negative, positive: positive}
    if _boolean(counts):
        named = {negative: f"not_{task}", positive: task}  # "1" says nothing in a verdict
    return LabelColumn(task, TaskKind.BINARY, (named[negative], named[positive]), (), named)


def _multi(task: str, counts: Counter[str], flags: tuple[str, ...]) -> LabelColumn:
    labels = tuple(sorted(counts))
    return LabelColumn(task, TaskKind.MULTILABEL, labels, flags, {label: label for label in labels})
