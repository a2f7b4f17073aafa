"""Manifest -> every fault in it, each with its file, row and column. No message holds a row's text."""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from contract.decision import TaskKind, TaskSpec
from contract.errors import MediaError
from contract.video import DecodeLimits, probe
from training.data.connected_rows import text_of
from training.data.manifest import SPLITS, TEXT_FIELDS, Manifest, Row
from training.errors import TrainingError

Severity = Literal["error", "warning"]
_SHOWN = 20
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a manifest.

    Attributes:
        file: the file it stands in.
        row: 1-based line or record number; None where the fault belongs to no single row.
        column: dotted path, such as ``privileged.flow.speed``; empty where it belongs to no column.
        message: what is wrong.
        severity: an ``error`` must be mended before training; a ``warning`` is skipped or worth a look.
    """

    file: str
    row: int | None
    column: str
    message: str
    severity: Severity = "error"

    def __str__(self) -> str:
        place = self.file if self.row is None else f"{self.file}:{self.row}"
        return f"{self.severity}: {place}: {self.column + ': ' if self.column else ''}{self.message}"


class ManifestError(TrainingError):
    """A manifest that cannot be trained on. ``faults`` holds every fault found, warnings too."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        lines = [str(f) for f in self.faults[:_SHOWN]]
        if len(self.faults) > _SHOWN:
            lines.append(f"... and {len(self.faults) - _SHOWN} more")
        super().__init__("\n".join(lines))


_Found = Iterator[tuple[int | None, str, str, Severity]]
_LABEL_SHOWN = 40
"""Characters of a wrong label: a column that was taken for another may hold whole texts, which are not to be shown."""
_Numbered = list[tuple[int, Row]]


def validate(manifest: Manifest, *, check_media: bool) -> list[Fault]:
    """Every fault of the manifest, in the order of the checks below; empty where there is none.

    Args:
        manifest: what to check.
        check_media: whether to open every clip (its index only; nothing is decoded).
    """
    numbered = list(enumerate(manifest.rows, start=1))
    checks: list[Callable[[Manifest, _Numbered], _Found]] = [
        _ids,
        _placement,
        _inputs,
        _labels,
        _parts,
        _classes,
        _privileged,
        _constant_features,
        _straddling_groups,
        _straddling_content,
    ]
    if check_media:
        checks.append(_media)
    return [Fault(manifest.rows_file, *finding) for check in checks for finding in check(manifest, numbered)]


def check(manifest: Manifest, *, check_media: bool) -> list[Fault]:
    """The warnings of a manifest that has no errors.

    Raises:
        ManifestError: there is an error.
    """
    faults = validate(manifest, check_media=check_media)
    if any(f.severity == "error" for f in faults):
        raise ManifestError(faults)
    return faults


def require_sound(manifest: Manifest, *, clips_at_hand: bool = True) -> None:
    """Logs the warnings of a manifest that can be trained on; clips must be there, but are not opened.

    Args:
        manifest: what to train on.
        clips_at_hand: whether clips are read from the media root; with shards they are not.

    Raises:
        ManifestError: there is an error.
    """
    faults = check(manifest, check_media=False)
    missing = [Fault(manifest.rows_file, *finding) for finding in _missing_clips(manifest)] if clips_at_hand else []
    if missing:
        raise ManifestError(missing)
    for fault in faults:
        _LOG.warning("%s", fault)


def require_rows_left(manifest: Manifest, failed: Collection[str], test_folds: Iterable[int | None]) -> None:
    """Raises where, without the rows that failed to decode, a task has too few rows left.

    Args:
        manifest: sound before.
        failed: ids of the rows to leave out.
        test_folds: of the trials.

    Raises:
        ManifestError: a task has no labelled row left in a split or fold that needs one, or one class to train on.
    """
    left = manifest.model_copy(update={"rows": tuple(row for row in manifest.rows if row.id not in failed)})
    numbered = list(enumerate(left.rows, start=1))
    place = f"{manifest.name} without the {len(failed)} rows whose clip cannot be decoded"
    faults = [Fault(place, *finding) for check in (_parts, _classes) for finding in check(left, numbered)]
    errors = [fault for fault in faults if fault.severity == "error"]
    if errors:
        raise ManifestError(errors)
    require_classes(left, test_folds)


def require_classes(manifest: Manifest, test_folds: Iterable[int | None]) -> None:
    """Raises, before anything is trained, where some trial's training rows of a task hold one class only.

    A fold of one class is what ``validate`` warns of; here folds count as the trials put them together. Without both
    classes in val the threshold stays 0.5, without both in test the scores are undefined: that is logged.

    Args:
        manifest: whose rows are trained on; one that was cut, after the cut.
        test_folds: of the trials.

    Raises:
        ManifestError: training rows of a task hold one class only (of its flag: all raise it, or none does).
    """
    faults: list[Fault] = []
    for fold in sorted(set(test_folds), key=str):
        for split, rows in manifest.split_rows(fold).items():
            held = f"{split} rows" if fold is None else f"{split} rows of the trial tested on fold {fold}"
            for task in manifest.tasks:
                labels = [row.labels[task.name] for row in rows if task.name in row.labels]
                if task.kind is TaskKind.MULTILABEL or len({label in task.flagged_by for label in labels}) != 1:
                    continue
                labels_held = ", ".join(sorted({str(label) for label in labels}))
                message = f"the {len(labels)} {held} hold one class of the flag only: {labels_held}"
                severity: Severity = "error" if split == "train" else "warning"
                faults.append(Fault(manifest.name, None, f"labels.{task.name}", message, severity))
    if any(fault.severity == "error" for fault in faults):
        raise ManifestError(faults)
    for fault in faults:
        _LOG.warning("%s", fault)


def _ids(manifest: Manifest, rows: _Numbered) -> _Found:
    first: dict[str, int] = {}
    for number, row in rows:
        if row.id in first:
            yield number, "id", f"the same id as row {first[row.id]}", "error"
        first.setdefault(row.id, number)


def _placement(manifest: Manifest, rows: _Numbered) -> _Found:
    for number, row in rows:
        if row.split is not None and row.fold is not None:
            yield number, "split", "both a split and a fold: set exactly one", "error"
        elif row.split is None and row.fold is None:
            yield number, "split", "neither a split nor a fold: set exactly one", "error"
        if row.fold is not None and not 0 <= row.fold < manifest.folds:
            yield number, "fold", f"fold {row.fold} is not in [0, {manifest.folds})", "error"


def _inputs(manifest: Manifest, rows: _Numbered) -> _Found:
    for number, row in rows:
        for field in sorted(set(row.texts) - set(TEXT_FIELDS)):
            yield number, f"texts.{field}", f"unknown text field; known are {', '.join(TEXT_FIELDS)}", "error"
        if row.video is None and not any(text.strip() for text in row.texts.values()):
            yield number, "video", "neither a video nor any text", "error"
        if row.view_count is not None and not 0 <= row.view_count < math.inf:
            yield number, "view_count", "views must be a finite number of at least 0; null means unknown", "error"
        if row.window_ms is not None:
            if row.video is None:
                yield number, "window_ms", "a window without a video", "error"
            if not 0 <= row.window_ms[0] < row.window_ms[1] < math.inf:
                yield number, "window_ms", "a window must be [start, end) with 0 <= start < end", "error"


def _labels(manifest: Manifest, rows: _Numbered) -> _Found:
    tasks = {task.name: task for task in manifest.tasks}
    for number, row in rows:
        for name, label in row.labels.items():
            task = tasks.get(name)
            message = "unknown task" if task is None else _label_fault(task, label)
            if message:
                yield number, f"labels.{name}", message, "error"


def _label_fault(task: TaskSpec, label: str | list[str]) -> str | None:
    if (task.kind is TaskKind.MULTILABEL) != isinstance(label, list):
        return "a multilabel task takes a list of labels, every other task one label"
    given = label if isinstance(label, list) else [label]
    if len(set(given)) != len(given):
        return "a label stands there twice"
    outside = [label for label in given if label not in task.labels]
    if outside:
        return f"{outside[0][:_LABEL_SHOWN]!r} is a label outside the set {', '.join(task.labels)}"
    return None


def _parts(manifest: Manifest, rows: _Numbered) -> _Found:
    """A task needs rows to train on, to calibrate on and to test on: in every fold, or in every split."""
    if manifest.folds and not any(row.fold is not None for _, row in rows):
        yield None, "folds", f"manifest.json says {manifest.folds} folds, but no row has one: set folds to 0", "error"
    for task in manifest.tasks:
        labelled = [row for _, row in rows if task.name in row.labels]
        folds, splits = {row.fold for row in labelled} - {None}, {row.split for row in labelled} - {None}
        needed = [split for split in SPLITS if labelled and split not in splits]
        if needed and folds:
            missing = [f"fold {fold}" for fold in range(manifest.folds) if fold not in folds]
        else:
            missing = [f"split {split}" for split in needed]
        for place in missing:
            yield None, f"labels.{task.name}", f"{place} holds no labelled row: it is needed", "error"


def _classes(manifest: Manifest, rows: _Numbered) -> _Found:
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for _, row in rows:
        place = f"split {row.split}" if row.split is not None else f"fold {row.fold}"
        for name, label in row.labels.items():
            seen[name, place] |= set(label) if isinstance(label, list) else {label}
    for task in manifest.tasks:
        places = {place: labels for (name, place), labels in seen.items() if name == task.name}
        if not places:
            yield None, f"labels.{task.name}", "no row has a label of this task", "error"
        for place, labels in sorted(places.items()):
            severity: Severity = "error" if place == "split train" else "warning"
            if task.kind is not TaskKind.MULTILABEL and len(labels) == 1:
                yield None, f"labels.{task.name}", f"{place} holds one class only", severity
            absent = sorted(set(task.labels) - labels)
            several = len(labels) != 1 or task.kind is TaskKind.MULTILABEL  # of one class only: told above
            if task.kind is not TaskKind.BINARY and absent and several:
                yield None, f"labels.{task.name}", f"{place} holds no row of {', '.join(absent)}", "warning"


def _privileged(manifest: Manifest, rows: _Numbered) -> _Found:
    known = {group.name: set(group.features) for group in manifest.privileged_groups}
    for number, row in rows:
        for group, values in row.privileged.items():
            if group not in known:
                yield number, f"privileged.{group}", "unknown privileged group", "error"
                continue
            for feature, value in values.items():
                if feature not in known[group]:
                    yield number, f"privileged.{group}.{feature}", "unknown privileged feature", "error"
                elif value is not None and not math.isfinite(value):
                    yield number, f"privileged.{group}.{feature}", "not a finite number; null means missing", "error"


def _constant_features(manifest: Manifest, rows: _Numbered) -> _Found:
    for group in manifest.privileged_groups:
        carried = [row.privileged[group.name] for _, row in rows if group.name in row.privileged]
        for feature in group.features:
            values = {values.get(feature) for values in carried} - {None}
            if len(values) < 2:
                what = "the same value in every row" if values else "missing in every row"
                yield None, f"privileged.{group.name}.{feature}", what, "warning"


def _straddling_groups(manifest: Manifest, rows: _Numbered) -> _Found:
    first: dict[str, tuple[int, object]] = {}
    reported: set[str] = set()
    for number, row in rows:
        place = (row.split, row.fold)
        before, where = first.setdefault(row.group, (number, place))
        if where != place and row.group not in reported:
            reported.add(row.group)
            yield number, "group", f"its group also stands in another split or fold, in row {before}", "error"


def _straddling_content(manifest: Manifest, rows: _Numbered) -> _Found:
    # Titles of clips may repeat ("untitled"): a repeated title counts as a duplicate only if some row is title-only.
    whole_texts = {text_of(row) for _, row in rows if row.video is None}
    for column in ("texts", "video"):
        first: dict[object, tuple[int, object]] = {}
        for number, row in rows:
            content = row.video if column == "video" else text_of(row)
            if content is None or (column == "texts" and content not in whole_texts):
                continue
            before, where = first.setdefault(content, (number, (row.split, row.fold)))
            if where != (row.split, row.fold):
                yield number, column, f"the same content in another split or fold, in row {before}", "warning"


def _missing_clips(manifest: Manifest) -> _Found:
    for number, row in enumerate(manifest.rows, start=1):
        path = manifest.video_path(row)
        if path is not None and not path.is_file():
            yield number, "video", _no_file(row), "error"


def _no_file(row: Row) -> str:
    return f"{row.video!r}: no such file under the media root"


def _media(manifest: Manifest, rows: _Numbered) -> _Found:
    limits = DecodeLimits()
    unreadable: Counter[str] = Counter()
    for number, row in rows:
        path = manifest.video_path(row)
        if path is None:
            continue
        if not path.is_file():
            yield number, "video", _no_file(row), "error"
            continue
        try:
            end_ms = probe(path, limits).end_s * 1000
        except MediaError as error:
            unreadable[error.code] += 1
            yield number, "video", f"unreadable, will be skipped: {error.code}", "warning"
            continue
        if row.window_ms is not None and row.window_ms[0] >= end_ms:
            yield number, "window_ms", f"the window starts after the clip's end at {end_ms:.0f} ms", "error"
        elif row.window_ms is not None and row.window_ms[1] > end_ms:
            yield number, "window_ms", f"the clip ends at {end_ms:.0f} ms, inside the window", "warning"
    if unreadable:
        counts = ", ".join(f"{code} {count}" for code, count in sorted(unreadable.items()))
        yield None, "video", f"{sum(unreadable.values())} clips will be skipped: {counts}", "warning"
