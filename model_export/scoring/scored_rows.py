"""A bundle's decisions on labelled rows, each beside what its label says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from contract.bundle import Bundle
from contract.decision import TaskDecision, TaskSpec
from contract.video import DecodeLimits
from model_export.decide_rows import decide_rows, readable_rows
from model_export.errors import ExportError
from model_export.served_tasks import with_unserved
from training.data.frames.frame_cache import FrameCache
from training.data.manifest import SPLITS, Manifest, Row, Split

Outcome = Literal["caught", "passed", "missed", "false alarm"]
Part = Literal["train", "val", "test", "all"]


@dataclass(frozen=True)
class ScoredRow:
    """One row, decided on one task.

    Attributes:
        row: as the manifest has it.
        decision: at the bundle's threshold.
        positive: whether its label raises the flag.
    """

    row: Row
    decision: TaskDecision
    positive: bool

    @property
    def outcome(self) -> Outcome:
        if self.decision.flagged:
            return "caught" if self.positive else "false alarm"
        return "missed" if self.positive else "passed"

    @property
    def error(self) -> float:
        """How far the score lies on the wrong side of the threshold; negative where it lies on the right one."""
        beyond = self.decision.flag_score - self.decision.threshold
        return -beyond if self.positive else beyond


@dataclass(frozen=True)
class ScoredSet:
    """All of it.

    Attributes:
        part: which rows of the manifest.
        tasks: those that both bundle and manifest have.
        scored: task -> its labelled rows that the bundle can be asked of.
        frames: of the rows' clips, as the model saw them.
        unreadable: code -> how many clips cannot be decoded.
        unanswered: task -> labelled rows without what the task reads.
        unserved: task -> why the bundle does not serve its verdict; it is scored all the same.
    """

    part: Part
    tasks: tuple[TaskSpec, ...]
    scored: Mapping[str, list[ScoredRow]]
    frames: FrameCache
    unreadable: Mapping[str, int]
    unanswered: Mapping[str, int]
    unserved: Mapping[str, str] = field(default_factory=dict)


def score_rows(
    bundle: Bundle,
    manifest: Manifest,
    cache: Path,
    part: Part,
    test_fold: int | None,
    *,
    workers: int = 1,
    progress: bool = True,
) -> ScoredSet:
    """The rows of a part of the manifest, decided by the bundle.

    Args:
        bundle: whose model and thresholds decide.
        manifest: labelled rows.
        cache: where decoded frames are kept.
        part: which rows.
        test_fold: the fold that counts as test; None where the manifest has none.
        workers: decoding processes.
        progress: show bars where stderr is a terminal.

    Raises:
        ExportError: bundle and manifest share no task, or differ in a task's labels; no row can be scored.
        ValueError: ``test_fold`` does not fit the manifest.
    """
    tasks = _shared_tasks(bundle, manifest)
    parts = manifest.split_rows(test_fold)
    names: tuple[Split, ...] = SPLITS if part == "all" else (part,)
    rows = [row for name in names for row in parts[name] if any(task.name in row.labels for task in tasks)]
    spec = bundle.manifest.input_spec
    frames = FrameCache.build(
        rows, manifest.video_path, spec, DecodeLimits(), cache, workers=workers, progress=progress
    )
    readable = readable_rows(rows, bundle, frames)
    scored: dict[str, list[ScoredRow]] = {task.name: [] for task in tasks}
    unanswered = dict.fromkeys(scored, 0)
    policy = with_unserved(bundle.manifest.policy, {})
    for row, decisions in decide_rows(readable, bundle, frames, policy, progress=progress):
        for task in tasks:
            if task.name not in row.labels:
                continue
            decision = decisions[task.name]
            if decision.supported:
                scored[task.name].append(ScoredRow(row, decision, _is_positive(row, task)))
            else:
                unanswered[task.name] += 1
    if not any(scored.values()):
        raise ExportError(f"{manifest.name}: no labelled row of {part} that the bundle's tasks can be asked of")
    unserved = {n: one.unserved for n, one in bundle.manifest.policy.tasks.items() if one.unserved is not None}
    return ScoredSet(part, tasks, scored, frames, frames.failures, unanswered, unserved)


def _shared_tasks(bundle: Bundle, manifest: Manifest) -> tuple[TaskSpec, ...]:
    own = {task.name: task for task in manifest.tasks}
    shared = tuple(task for task in bundle.manifest.tasks if task.name in own)
    if not shared:
        names = [", ".join(task.name for task in tasks) for tasks in (bundle.manifest.tasks, manifest.tasks)]
        raise ExportError(f"no task in common: the bundle answers {names[0]}; the manifest labels {names[1]}")
    for task in shared:
        other = own[task.name]
        if (task.kind, set(task.labels), set(task.flagged_by)) != (
            other.kind,
            set(other.labels),
            set(other.flagged_by),
        ):
            raise ExportError(
                f"task {task.name}: the bundle's labels are {_in_words(task)}, the manifest's {_in_words(other)}"
            )
    return shared


def _in_words(task: TaskSpec) -> str:
    return f"{', '.join(task.labels)} (flag: {', '.join(task.flagged_by)}; {task.kind.value})"


def _is_positive(row: Row, task: TaskSpec) -> bool:
    label = row.labels[task.name]
    return bool(({label} if isinstance(label, str) else set(label)) & set(task.flagged_by))
