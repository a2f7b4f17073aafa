"""The report's tables as the page's template reads them: sections of rows, rows of cells, all of it text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from training.evaluation.comparisons import BASELINE, COMPARED, TAMPERED, TEACHER
from training.evaluation.slices import MARGIN, RATES
from training.report.titles import full, metric_title
from training.report.words import bracket, number, verdict_on

Report = Mapping[str, Any]
_SECTIONS: Final = {
    "teacher": "Teacher: reads what privileged features there are, cannot be served",
    "students": "Baseline and students: what can be served",
    "tampered": "Controls of the weighting: CPFD with its weights tampered with",
    "controls": "Controls: see less than a student does",
}
_MARKS: Final = {"better": "▲", "worse": "▼"}


@dataclass(frozen=True)
class Cell:
    """A value with its interval below; ``verdict`` of the difference to the baseline, ``mark`` the same as a sign."""

    value: str
    interval: str = ""
    verdict: str = ""

    @property
    def mark(self) -> str:
        return _MARKS.get(self.verdict, "")


@dataclass(frozen=True)
class Line:
    """A row: the method's name in commands and what it is, then its cells."""

    name: str
    title: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Section:
    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """Column heads as (group, how many columns) and one a column; rows in sections."""

    groups: tuple[tuple[str, int], ...]
    heads: tuple[str, ...]
    sections: tuple[Section, ...]


def sections_of(report: Report) -> dict[str, list[str]]:
    """Section -> its methods: teacher, students, tampered, controls."""
    reported = dict.fromkeys(m for task in report["tasks"].values() for m in task["methods"])
    methods = [*report["methods"], *(m for m in reported if m not in report["methods"])]
    places: dict[str, list[str]] = {name: [] for name in _SECTIONS}
    for method in methods:
        if method not in report["methods"]:
            places["controls"].append(method)
        else:
            kind = "teacher" if method == TEACHER else "tampered" if method in TAMPERED else "students"
            places[kind].append(method)
    return places


def summary_table(report: Report) -> Table:
    """Methods by tasks: F1 and PR-AUC; then whatever the report holds over all tasks together."""
    wholes = {k: v for k, v in report.items() if isinstance(v, Mapping) and isinstance(v.get("methods"), Mapping)}
    parts = {**report["tasks"], **{name.replace("_", " "): whole for name, whole in wholes.items()}}
    columns = [(part, metric) for part in parts.values() for metric in COMPARED]

    def cells(method: str) -> Iterable[Cell]:
        return (_cell(part, method, metric) for part, metric in columns)

    groups = tuple((name, len(COMPARED)) for name in parts)
    return Table(groups, tuple(metric_title(m) for _ in parts for m in COMPARED), _sections(report, cells))


def metrics_table(report: Report, task: Mapping[str, Any]) -> Table:
    """Every metric that the report holds of one task, and those of requests that hold two unrelated rows."""
    metrics = list(dict.fromkeys(metric for values in task["methods"].values() for metric in values))
    paired = task.get("paired") or {}
    of_pairs = list(dict.fromkeys(metric for values in paired.values() for metric in values))

    def cells(method: str) -> Iterable[Cell]:
        yield from (_cell(task, method, metric) for metric in metrics)
        yield from (_value(paired.get(method, {}).get(metric)) for metric in of_pairs)

    groups = [("held-out rows", len(metrics))]
    groups += [("beside an unrelated row of the other modality", len(of_pairs))] if of_pairs else []
    heads = tuple(metric_title(metric) for metric in (*metrics, *of_pairs))
    return Table(tuple(groups), heads, _sections(report, cells, task["methods"]))


def comparison_table(task: Mapping[str, Any]) -> list[Line]:
    """Every comparison: its differences, each with its interval and verdict."""
    lines = []
    for pair, metrics in task["comparisons"].items():
        cells = []
        for metric in COMPARED:
            entry = metrics.get(metric)
            if entry is None:
                cells.append(Cell("-"))
                continue
            difference = number(entry["difference"], signed=True)
            cells.append(Cell(difference, bracket(entry["interval"], signed=True), verdict_on(entry)))
        lines.append(Line(pair, "", tuple(cells)))
    return lines


def slice_table(report: Report, task: Mapping[str, Any], shown: Iterable[str]) -> Table | None:
    """PR-AUC by slice of the methods ``shown`` and the controls; None where the task has no slices."""
    if not task["slices"]:
        return None
    columns = [*shown, *(m for m in task["methods"] if m not in report["methods"])]
    sections = []
    for name, values in task["slices"].items():
        lines = [
            Line(value, f"{entry['rows']} rows", tuple(_value(entry.get(m, {}).get("pr_auc")) for m in columns))
            for value, entry in values.items()
        ]
        sections.append(Section(name, tuple(lines)))
    return Table((("PR-AUC", len(columns)),), tuple(columns), tuple(sections))


def threshold_slices(task: Mapping[str, Any], student: str | None) -> list[Line]:
    """Slice by slice: share, elsewhere, difference and verdict of misses, then of false alarms; warnings marked."""
    by_slice = task.get("threshold_by_slice", {}).get(student, {})
    lines = []
    for name, values in by_slice.items():
        for value, entry in values.items():
            cells: list[Cell] = []
            for rate in RATES:
                found = entry[rate]
                warned = found["verdict"] == "worse" and found["difference"] >= MARGIN
                cells += [
                    Cell(number(found["mean"]), bracket(found["interval"])),
                    Cell(number(found["elsewhere"])),
                    Cell(number(found["difference"], signed=True), bracket(found["difference_interval"], signed=True)),
                    Cell(found["verdict"], verdict="worse" if warned else ""),
                ]
            lines.append(Line(f"{name} = {value}", f"{entry['rows']} rows", tuple(cells)))
    return lines


def number_of_tests(report: Report) -> int:
    """How many differences the report gives a verdict on."""
    return sum(len(metrics) for task in report["tasks"].values() for metrics in task["comparisons"].values())


def _sections(
    report: Report, cells: Any, present: Sequence[str] | Mapping[str, Any] | None = None
) -> tuple[Section, ...]:
    sections = []
    for kind, methods in sections_of(report).items():
        kept = [method for method in methods if present is None or method in present]
        lines = tuple(Line(method, full(method), tuple(cells(method))) for method in kept)
        if lines:
            sections.append(Section(_SECTIONS[kind], lines))
    return tuple(sections)


def _cell(part: Mapping[str, Any], method: str, metric: str) -> Cell:
    cell = _value(part["methods"].get(method, {}).get(metric))
    compared = part.get("comparisons", {}).get(f"{method} - {BASELINE}", {}).get(metric)
    return cell if compared is None else Cell(cell.value, cell.interval, verdict_on(compared))


def _value(estimate: Mapping[str, Any] | None) -> Cell:
    return Cell("-") if estimate is None else Cell(number(estimate["mean"]), bracket(estimate["interval"]))
