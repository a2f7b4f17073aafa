"""Rows -> padded batches of tensors, through the contract's own tokenisation and collation.

Batches are homogeneous: all rows hold a clip, or none does. Which rows meet in which batch is a function of
(seed, epoch) alone, so a resumed run sees what the uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.decision import TaskSpec
from contract.example import ModelInputs, collate
from contract.input_spec import InputSpec
from contract.text import TextTokenizer, TokenisedText
from training.augmentation import Change, apply_change, draw_change
from training.config import OptimiserConfig
from training.frame_cache import FrameCache
from training.manifest import Row
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
        texts: (N,) tokenised texts.
        targets: task name -> targets over the N rows.
        privileged: group -> (values (N, F), presence (N, F)); empty for a student.
        soft_targets: task name -> (N, K) teacher logits; empty where none are read.
        teacher_features: of the same N rows; None where no method reads them.
    """

    rows: list[Row]
    spec: InputSpec
    tokenizer: TextTokenizer
    cache: FrameCache
    texts: list[TokenisedText]
    targets: dict[str, TaskTargets]
    privileged: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=dict)
    soft_targets: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    teacher_features: TeacherFeatures | None = None

    @property
    def has_video(self) -> NDArray[np.bool_]:
        return np.asarray([row.video is not None for row in self.rows], np.bool_)

    @property
    def has_text(self) -> NDArray[np.bool_]:
        return np.asarray([text.present for text in self.texts], np.bool_)

    def build(self, picks: Sequence[Pick], changes: Sequence[Change | None] | None = None) -> Batch:
        """The batch of the picked rows; clips are augmented where ``changes`` says how."""
        labels = self.labels(picks)
        return Batch(self.inputs(picks, changes), labels.privileged, labels.tasks)

    def inputs(self, picks: Sequence[Pick], changes: Sequence[Change | None] | None = None) -> dict[str, Tensor]:
        """Tensors under the contract's input names. Reads the clips' frames."""
        chosen = [None] * len(picks) if changes is None else changes
        examples = [self._inputs(pick, change) for pick, change in zip(picks, chosen, strict=True)]
        arrays = collate(examples, self.tokenizer.pad_id)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def labels(self, picks: Sequence[Pick]) -> Batch:
        """The same batch without inputs: targets, soft targets and privileged features. Reads no frames."""
        return Batch(
            {},
            {name: self._privileged(name, picks) for name in self.privileged},
            {name: self._task_rows(targets, picks) for name, targets in self.targets.items()},
        )

    def _inputs(self, pick: Pick, change: Change | None) -> ModelInputs:
        index, partner = pick
        row = self.rows[index]
        text = self.texts[index if partner is None else partner]
        if row.video is None:
            return ModelInputs(np.zeros(self.spec.frames_shape, np.uint8), (), text, video_present=False)
        frames = self.cache.frames(row)
        return ModelInputs(frames if change is None else apply_change(frames, change), (), text, video_present=True)

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
    rows: Sequence[Row], tasks: Sequence[TaskSpec], spec: InputSpec, tokenizer: TextTokenizer, cache: FrameCache
) -> RowSet:
    """The rows that can be read: those whose clip failed to decode are left out (the cache counts them)."""
    kept = [row for row in rows if row.id not in cache.failed]
    texts = [tokenizer.encode(row.texts) for row in kept]
    return RowSet(kept, spec, tokenizer, cache, texts, {t.name: task_targets(kept, t) for t in tasks})


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


def training_batches(rows: RowSet, config: OptimiserConfig, seed: int, epoch: int) -> Iterator[Batch]:
    """One epoch of augmented, shuffled batches, as ``plan_epoch`` has them."""
    for planned in plan_epoch(rows, config, seed, epoch):
        yield rows.build(planned.picks, planned.changes)


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
    rows: RowSet, size: int, share: tuple[int, int] = (0, 1)
) -> Iterator[tuple[NDArray[np.int64], Batch]]:
    """Every row once, unchanged: (row positions, batch), clips first, texts sorted by length to save padding.

    Args:
        rows: any.
        size: of a batch.
        share: (i, n): every n-th batch from the i-th on; n processes see every row once between them.
    """
    lengths = np.asarray([len(text.input_ids) for text in rows.texts])
    chunks: list[NDArray[np.int64]] = []
    for chosen in (rows.has_video, ~rows.has_video):
        positions = np.flatnonzero(chosen)
        chunks += _chunks(positions[np.argsort(lengths[positions], kind="stable")], size)
    for chunk in chunks[share[0] :: share[1]]:
        yield chunk, rows.build([(int(i), None) for i in chunk])


def _chunks(array: NDArray[Any], size: int) -> list[NDArray[Any]]:
    return [array[i : i + size] for i in range(0, len(array), size)]
