"""One training batch, split over processes and, within a process, into parts for gradient accumulation.

What a batch is does not depend on how many share it: the plan of an epoch and every clip's augmentation are drawn for
all rows, on every process, and each then reads the frames of its own rows alone. Labels, soft targets and privileged
features of all rows are on every process, so that ``train_step`` can compute the loss of the whole batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

from torch import Tensor

from training.config import OptimiserConfig
from training.data.loading.batch_inputs import InputPlan
from training.data.loading.epoch_batches import PlannedBatch, plan_epoch
from training.data.loading.read_ahead import read_ahead
from training.data.loading.row_set import Batch, RowSet

Span = tuple[int, int]
"""First row and the row after the last, by position in the whole batch."""


@dataclass(frozen=True)
class Part:
    """Rows that go through the model together.

    Attributes:
        span: of these rows; empty for a process without rows, which runs a row of another process so that every process
            takes part.
        inputs, privileged: of these rows, as in ``Batch``.
    """

    span: Span
    inputs: dict[str, Tensor]
    privileged: dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class SharedBatch:
    """One batch as one process sees it.

    Attributes:
        size: rows of the whole batch.
        whole: labels and privileged features of all rows; no inputs.
        spans: of each process.
        parts: of this process; at least one.
        in_parts: whether the share of any process may have several, so that all processes send the same messages.
    """

    size: int
    whole: Batch
    spans: tuple[Span, ...]
    parts: tuple[Part, ...]
    in_parts: bool = False


def divide(start: int, stop: int, count: int) -> tuple[Span, ...]:
    """``count`` adjacent spans whose lengths differ by one at most; some are empty where rows are few."""
    quotient, rest = divmod(stop - start, count)
    edges = [start + i * quotient + min(i, rest) for i in range(count + 1)]
    return tuple(pairwise(edges))


def shared_batches(
    rows: RowSet,
    config: OptimiserConfig,
    seed: int,
    epoch: int,
    *,
    rank: int = 0,
    processes: int = 1,
    start: int = 0,
) -> Iterator[SharedBatch]:
    """The epoch's batches from the ``start``-th on, as the process ``rank`` of so many sees them.

    Where ``rows.workers`` is not 0, so many processes read the inputs ahead.

    Raises:
        RowError: the frames of a row cannot be read.
        WorkerDied: a worker process was killed.
    """
    outlines: deque[_Outline] = deque()

    def plans() -> Iterator[InputPlan]:
        for planned in islice(plan_epoch(rows, config, seed, epoch), start, None):
            outlines.append(_outline(planned, rank, processes, config.accumulation_steps))
            for chosen in map(_rows_of, outlines[-1].mine):
                yield rows.input_plan(
                    planned.picks[chosen], planned.changes[chosen], planned.views[chosen], planned.hidden[chosen]
                )

    read = read_ahead(rows.reader(), plans(), rows.workers)
    for first in read:
        outline = outlines.popleft()
        inputs = [first, *islice(read, len(outline.mine) - 1)]
        whole = rows.labels(outline.planned.picks)
        parts = tuple(_part(whole, span, part_inputs) for span, part_inputs in zip(outline.mine, inputs, strict=True))
        yield SharedBatch(
            len(outline.planned.picks), whole, outline.spans, parts, in_parts=config.accumulation_steps > 1
        )


@dataclass(frozen=True)
class _Outline:
    """A planned batch with its split; ``mine`` are the spans of this process's parts."""

    planned: PlannedBatch
    spans: tuple[Span, ...]
    mine: tuple[Span, ...]


def _outline(planned: PlannedBatch, rank: int, processes: int, parts: int) -> _Outline:
    spans = divide(0, len(planned.picks), processes)
    mine = tuple(span for span in divide(*spans[rank], parts) if span[0] < span[1])
    return _Outline(planned, spans, mine or ((0, 0),))


def _rows_of(span: Span) -> slice:
    return slice(span[0], max(span[1], span[0] + 1))


def _part(whole: Batch, span: Span, inputs: dict[str, Tensor]) -> Part:
    chosen = _rows_of(span)
    privileged = {name: (values[chosen], presence[chosen]) for name, (values, presence) in whole.privileged.items()}
    return Part(span, inputs, privileged)
