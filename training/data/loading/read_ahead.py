"""Input plans -> model inputs, ahead of their use, in worker processes; the order is that of the plans.

At most ``AHEAD`` batches a worker are under way or wait, in shared memory. Workers start from a clean server process
that has the libraries loaded (not forked from this one, which may hold threads), and end when this process does.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.child_process import end_with_parent
from training.data.loading.batch_inputs import InputPlan, InputReader, RowError
from training.errors import TrainingError

AHEAD = 2
"""Batches under way for each worker."""
_SHOWN_ROWS = 8
_LOST_WORKER = (RuntimeError, ConnectionError, FileNotFoundError, EOFError)
"""What PyTorch raises when a worker is gone: its watchdog, or the socket over which it hands over a batch."""


class WorkerDied(TrainingError):
    """A worker process died. The message names the rows it may have been reading."""


class _Inputs(Dataset[Any]):
    """The dataset of the worker: the "index" it is asked for is a whole plan."""

    def __init__(self, reader: InputReader) -> None:
        self._reader = reader

    def __getitem__(self, plan: InputPlan) -> dict[str, Tensor] | RowError:
        try:
            return self._reader.read(plan)
        except RowError as error:
            return RowError(str(error))  # handed back as a value: raised here it would come wrapped in a traceback


def read_ahead(reader: InputReader, plans: Iterator[InputPlan], workers: int) -> Iterator[dict[str, Tensor]]:
    """The inputs of every plan, in their order.

    Args:
        reader: of plans; sent to every worker.
        plans: taken in this process as workers become free.
        workers: processes; 0 reads in this one.

    Raises:
        RowError: the frames of a row cannot be read.
        WorkerDied: a worker was killed, often for want of memory.
    """
    if workers == 0:
        for plan in plans:
            yield reader.read(plan)
        return
    under_way: deque[InputPlan] = deque()
    batches = iter(_loader(reader, _noted(plans, under_way), workers))
    while True:
        try:
            inputs = next(batches)
        except StopIteration:
            return
        except _LOST_WORKER as error:
            raise WorkerDied(_account(error, under_way)) from error
        if isinstance(inputs, RowError):
            raise inputs
        under_way.popleft()
        yield inputs


def _loader(reader: InputReader, plans: Iterator[InputPlan], workers: int) -> DataLoader[Any]:
    return DataLoader(
        _Inputs(reader),
        batch_size=None,
        sampler=plans,  # iterated over, once
        num_workers=workers,
        collate_fn=_unchanged,
        multiprocessing_context=_context(),
        worker_init_fn=end_with_parent,
        prefetch_factor=AHEAD,
        generator=torch.Generator(),  # else it would draw a number of the global one, which dropout reads
    )


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    # A worker imports the program's main module: loaded in the server, that costs it nothing.
    context.set_forkserver_preload(["training.data.loading.read_ahead", *([] if spec is None else [spec.name])])
    return context


def _noted(plans: Iterator[InputPlan], under_way: deque[InputPlan]) -> Iterator[InputPlan]:
    for plan in plans:
        under_way.append(plan)
        yield plan


def _account(error: Exception, under_way: deque[InputPlan]) -> str:
    ids = [row.id for plan in under_way for row in plan.rows if row.video is not None]
    more = f" and {len(ids) - _SHOWN_ROWS} more" if len(ids) > _SHOWN_ROWS else ""
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"a worker that reads batches failed: {first}; rows under way: {', '.join(ids[:_SHOWN_ROWS])}{more}"


def _unchanged(inputs: Any) -> Any:
    return inputs
