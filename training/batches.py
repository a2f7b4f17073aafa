"""Rows -> padded batches of tensors, through the contract's own tokenisation and collation.

Batches are homogeneous: all rows hold a clip, or none does. Which rows meet in which batch, and how each clip is
changed, is a function of (seed, epoch) alone and drawn in one process, so a resumed run sees what the uninterrupted
one would have seen, whatever the number of workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.decision import TaskSpec
from contract.input_spec import InputSpec
from contract.text import TextTokenizer, TokenisedText
from training.augmentation import Change, draw_change
from training.batch_inputs import InputPlan, InputReader
from training.config import OptimiserConfig
from training.frame_store import FrameStore
from training.manifest import Row
from training.prefetch import read_ahead
from training.privileged import PrivilegedStatistics
from training.targets import TaskTargets, task_targets

Pick = tuple[int, int | None]
"""A row and, where the clip borrows a text, the row it is borrowed from."""


@dataclass(frozen=True)
class TaskRows:
    """The labelled rows of a batch for one task: their positions, targets and, where stored, what a teacher says.

    Attributes:
        teacher_NK: the teacher's logits.
        features_ND: what the teacher represents of them.
    """

    task: TaskSpec
    positions_N: Tensor
    targets: Tensor
    teacher_NK: Tensor | None
    features_ND: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """Tensors under the contract's input names, privileged groups, and each task's labelled rows."""

    inputs: dict[str, Tensor]
    privileged: dict[str, tuple[Tensor, Tensor]]
    tasks: dict[str, TaskRows]


@dataclass(frozen=True, eq=False)
class TeacherFeatures:
    """What a frozen teacher represents of N rows, and the last layers of its heads.

    Attributes:
        represented_ND: (N, D_t) fp32, what its heads read.
        classifiers: task name -> (K, E_t + 1) fp32, weights and bias of its head's last layer.
    """

    represented_ND: NDArray[np.float32]
    classifiers: dict[str, NDArray[np.float32]]


@dataclass
class RowSet:
    """The rows of one split, ready to be batched. Rows whose clip could not be decoded are left out by the caller.

    Attributes:
        rows: N rows.
        cache: where the clips' frames are read.
        texts: (N,) tokenised texts.
        targets: task name -> targets over the N rows.
        privileged: group -> (values (N, F), presence (N, F)); empty for a student.
        soft_targets: task name -> (N, K) teacher logits; empty where none are read.
        teacher_features: of the same N rows; None where no method reads them.
        workers: processes that read batches where the caller does not say; 0 reads in this one.
    """

    rows: list[Row]
    spec: InputSpec
    tokenizer: TextTokenizer
    cache: FrameStore
    texts: list[TokenisedText]
    targets: dict[str, TaskTargets]
    privileged: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=dict)
    soft_targets: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    teacher_features: TeacherFeatures | None = None
    workers: int = 0

    @property
    def has_video(self) -> NDArray[np.bool_]:
        return np.asarray([row.video is not None for row in self.rows], np.bool_)

    @property
    def has_text(self) -> NDArray[np.bool_]:
        return np.asarray([text.present for text in self.texts], np.bool_)

    def build(self, picks: Sequence[Pick], changes: Sequence[Change | None] | None = None) -> Batch:
        """The batch of the picked rows; clips are augmented where ``changes`` says how.

        Raises:
            RowError: the frames of a row cannot be read.
        """
        return self.around(picks, self.reader().read(self.input_plan(picks, changes or (None,) * len(picks))))

    def input_plan(self, picks: Sequence[Pick], changes: Sequence[Change | None]) -> InputPlan:
        """What the inputs of the picked rows are read from."""
        return InputPlan(
            tuple(self.rows[i] for i, _ in picks),
            tuple(self.texts[i if partner is None else partner] for i, partner in picks),
            tuple(changes),
        )

    def reader(self) -> InputReader:
        """Reads this set's input plans."""
        return InputReader(self.cache, self.spec, self.tokenizer.pad_id)

    def labels(self, picks: Sequence[Pick]) -> Batch:
        """The batch of the picked rows without inputs: targets, soft targets, privileged features. Reads no frames."""
        return self.around(picks, {})

    def around(self, picks: Sequence[Pick], inputs: dict[str, Tensor]) -> Batch:
        """The batch of the picked rows, whose inputs are read."""
        return Batch(
            inputs,
            {name: self._privileged(name, picks) for name in self.privileged},
            {name: self._task_rows(targets, picks) for name, targets in self.targets.items()},
        )

    def _task_rows(self, targets: TaskTargets, picks: Sequence[Pick]) -> TaskRows:
        positions, sources = [], []
        for position, (index, partner) in enumerate(picks):
            source = index if targets.labelled[index] or partner is None else partner
            if targets.labelled[source]:
                positions.append(position)
                sources.append(source)
        stored = self.soft_targets.get(targets.task.name)
        features = self.teacher_features
        return TaskRows(
            targets.task,
            torch.tensor(positions, dtype=torch.long),
            torch.from_numpy(targets.values[sources]),
            None if stored is None else torch.from_numpy(stored[sources]),
            None if features is None else torch.from_numpy(features.represented_ND[sources]),
        )

    def _privileged(self, name: str, picks: Sequence[Pick]) -> tuple[Tensor, Tensor]:
        values_NF, presence_NF = self.privileged[name]
        sources = [i if partner is None or presence_NF[i].any() else partner for i, partner in picks]
        return torch.from_numpy(values_NF[sources]), torch.from_numpy(presence_NF[sources])


def row_set(
    rows: Sequence[Row],
    tasks: Sequence[TaskSpec],
    spec: InputSpec,
    tokenizer: TextTokenizer,
    cache: FrameStore,
    workers: int = 0,
) -> RowSet:
    """The rows that can be read: those whose clip failed to decode are left out (the store counts them).

    Text fields that the spec does not read are left unread, as the service leaves them.
    """
    kept = [row for row in rows if row.id not in cache.failed]
    read = {field.name for field in spec.text_fields}
    texts = [tokenizer.encode({name: text for name, text in row.texts.items() if name in read}) for row in kept]
    targets = {t.name: task_targets(kept, t) for t in tasks}
    return RowSet(kept, spec, tokenizer, cache, texts, targets, workers=workers)


def with_privileged(rows: RowSet, statistics: PrivilegedStatistics) -> RowSet:
    """The same rows with standardised privileged features, for a teacher."""
    return replace(rows, privileged=statistics.transform(rows.rows))


def with_soft_targets(rows: RowSet, soft_targets: Mapping[str, NDArray[np.float32]]) -> RowSet:
    """The same rows with a teacher's logits (N, K) by task, for a student that distils."""
    return replace(rows, soft_targets=dict(soft_targets))


def with_teacher_features(rows: RowSet, features: TeacherFeatures) -> RowSet:
    """The same rows with what a teacher represents of them, for a student that compares."""
    return replace(rows, teacher_features=features)


@dataclass(frozen=True)
class PlannedBatch:
    """A batch before anything of it is read: which rows, and what happens to their clips (None where there is none)."""

    picks: list[Pick]
    changes: list[Change | None]


def plan_epoch(rows: RowSet, config: OptimiserConfig, seed: int, epoch: int) -> Iterator[PlannedBatch]:
    """The batches of one epoch: a function of the rows, the config, the seed and the epoch, whoever reads them."""
    rng = np.random.default_rng([seed, epoch])
    has_video, side = rows.has_video, rows.spec.frame_size
    for picks in _plan(rows, config, rng):
        yield PlannedBatch(picks, [draw_change(side, rng) if has_video[index] else None for index, _ in picks])


def training_batches(
    rows: RowSet, config: OptimiserConfig, seed: int, epoch: int, workers: int | None = None, start: int = 0
) -> Iterator[Batch]:
    """One epoch of augmented, shuffled batches, as ``plan_epoch`` has them.

    Args:
        rows: what is trained on.
        config: sizes of batches.
        seed: of the run.
        epoch: from 0.
        workers: processes that read batches ahead; 0 reads in this one, None does as ``rows.workers`` says. The
            batches are the same whatever it is.
        start: how many batches of the epoch to pass over; they are drawn but not read, so those that follow are what
            they are without it.

    Raises:
        ValueError: a negative ``start`` or ``workers``.
        RowError: the frames of a row cannot be read (from the iterator, as what follows).
        WorkerDied: a worker process was killed.
    """
    if start < 0:
        raise ValueError(f"start must be 0 or more: {start}")
    return _read(rows, islice(plan_epoch(rows, config, seed, epoch), start, None), workers)


def _read(rows: RowSet, planned: Iterator[PlannedBatch], workers: int | None) -> Iterator[Batch]:
    count = rows.workers if workers is None else workers
    if count < 0:
        raise ValueError(f"workers must be 0 or more: {count}")
    waiting: deque[Sequence[Pick]] = deque()

    def plans() -> Iterator[InputPlan]:
        for batch in planned:
            waiting.append(batch.picks)
            yield rows.input_plan(batch.picks, batch.changes)

    read = read_ahead(rows.reader(), plans(), count)
    return (rows.around(waiting.popleft(), inputs) for inputs in read)


def batches_in_epoch(rows: RowSet, config: OptimiserConfig) -> int:
    """How many batches ``training_batches`` gives."""
    videos = int(rows.has_video.sum()) * config.video_repeat
    texts = len(rows.rows) - int(rows.has_video.sum())
    return -(-videos // config.video_batch) + -(-texts // config.text_batch)


def _plan(rows: RowSet, config: OptimiserConfig, rng: np.random.Generator) -> list[list[Pick]]:
    videos, others = np.flatnonzero(rows.has_video), np.flatnonzero(~rows.has_video)
    with_text = np.flatnonzero(rows.has_text & ~rows.has_video)
    has_text = rows.has_text
    plan: list[list[Pick]] = []
    order = np.concatenate([rng.permutation(videos) for _ in range(config.video_repeat)]) if len(videos) else videos
    for chunk in _chunks(order, config.video_batch):
        partners = rng.choice(with_text, len(chunk)) if len(with_text) else np.full(len(chunk), -1)
        paired = (rng.random(len(chunk)) < config.pair_probability) & (partners >= 0) & ~has_text[chunk]
        plan.append([(int(i), int(p) if use else None) for i, p, use in zip(chunk, partners, paired, strict=True)])
    plan += [[(int(i), None) for i in chunk] for chunk in _chunks(rng.permutation(others), config.text_batch)]
    return [plan[i] for i in rng.permutation(len(plan))]


def evaluation_batches(
    rows: RowSet, size: int, share: tuple[int, int] = (0, 1), workers: int | None = None
) -> Iterator[tuple[NDArray[np.int64], Batch]]:
    """Every row once, unchanged: (row positions, batch), clips first, texts sorted by length to save padding.

    Args:
        rows: any.
        size: of a batch.
        share: (i, n): every n-th batch from the i-th on; n processes see every row once between them.
        workers: as for ``training_batches``, and so is what is raised.
    """
    lengths = np.asarray([len(text.input_ids) for text in rows.texts])
    chunks: list[NDArray[np.int64]] = []
    for chosen in (rows.has_video, ~rows.has_video):
        positions = np.flatnonzero(chosen)
        chunks += _chunks(positions[np.argsort(lengths[positions], kind="stable")], size)
    mine = chunks[share[0] :: share[1]]
    unchanged = (PlannedBatch([(int(i), None) for i in chunk], [None] * len(chunk)) for chunk in mine)
    return zip(mine, _read(rows, unchanged, workers), strict=True)


def _chunks(array: NDArray[Any], size: int) -> list[NDArray[Any]]:
    return [array[i : i + size] for i in range(0, len(array), size)]
