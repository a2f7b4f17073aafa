"""The plan of an epoch, and the batches read by it.

Batches are homogeneous: all rows hold a clip, or none does. Which rows meet in which batch, and how each clip is
changed, is a function of (seed, epoch) alone and drawn in one process, so a resumed run sees what the uninterrupted
one would have seen, whatever the number of workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.config import OptimiserConfig
from training.data.augmentation import Change, draw_change
from training.data.loading.batch_inputs import Hidden, InputPlan
from training.data.loading.read_ahead import read_ahead
from training.data.loading.row_set import Batch, Pick, RowSet

_WINDOW = 16
"""Batches among whose texts those of like length are put together."""


@dataclass(frozen=True)
class PlannedBatch:
    """A batch before any frame is read: which rows, and the augmentation of their clips (None where there is none).

    Attributes:
        views: which kept view of each clip, where a frozen trunk's output is read.
        hidden: what is held back of each row.
    """

    picks: list[Pick]
    changes: list[Change | None]
    views: list[int]
    hidden: list[Hidden]


def plan_epoch(rows: RowSet, config: OptimiserConfig, seed: int, epoch: int) -> Iterator[PlannedBatch]:
    """The batches of one epoch: a function of the rows, the config, the seed and the epoch alone."""
    rng = np.random.default_rng([seed, epoch])
    has_video, has_text, side = rows.has_video, rows.has_text, rows.spec.frame_size
    kept = rows.clip_features
    for picks in _plan(rows, config, rng):
        clips = [bool(has_video[index]) for index, _ in picks]
        changes = [draw_change(side, rng, config.augmentation) if clip and kept is None else None for clip in clips]
        views = [0] * len(picks)
        if kept is not None and kept.views > 1 and any(clips):
            views = [int(view) for view in rng.integers(0, kept.views, len(picks))]
        hidden: list[Hidden] = [None] * len(picks)
        if config.modality_dropout > 0:
            texts = [partner is not None or bool(has_text[index]) for index, partner in picks]
            both = [clip and text for clip, text in zip(clips, texts, strict=True)]
            hidden = [_drawn(rng, config.modality_dropout) if held else None for held in both]
        yield PlannedBatch(picks, changes, views, hidden)


def _drawn(rng: np.random.Generator, share: float) -> Hidden:
    """Either modality, each in half of the share."""
    drawn = rng.random()
    return "video" if drawn < share / 2 else "text" if drawn < share else None


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
            yield rows.input_plan(batch.picks, batch.changes, batch.views, batch.hidden)

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
    texts = rng.permutation(others)
    if config.group_lengths:
        lengths = np.asarray([len(text.input_ids) for text in rows.texts])
        windows = _chunks(texts, _WINDOW * config.text_batch)
        texts = np.concatenate([w[np.argsort(lengths[w], kind="stable")] for w in windows]) if len(texts) else texts
    plan += [[(int(i), None) for i in chunk] for chunk in _chunks(texts, config.text_batch)]
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
    unchanged = (_unchanged([(int(i), None) for i in chunk]) for chunk in mine)
    return zip(mine, _read(rows, unchanged, workers), strict=True)


def _unchanged(picks: list[Pick]) -> PlannedBatch:
    return PlannedBatch(picks, [None] * len(picks), [0] * len(picks), [None] * len(picks))


def _chunks(array: NDArray[Any], size: int) -> list[NDArray[Any]]:
    return [array[i : i + size] for i in range(0, len(array), size)]
