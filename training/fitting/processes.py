"""The processes of one training: one by default, several under torchrun or ``accelerate launch``.

The process of rank 0 writes; the others wait for it and then read. All of them see one file system.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin, InitProcessGroupKwargs, parse_flag_from_env
from torch import Tensor

from training.data.loading.row_set import Batch, TaskRows
from training.fitting.operation import Operation

_PATIENCE = timedelta(hours=12)
"""How long a process waits for another: rank 0 decodes and predicts alone. A dead process ends all at once."""


def world() -> PartialState:
    """Rank, number of processes and device of this process; joins the others at the first call.

    ``ACCELERATE_USE_CPU=true`` leaves an accelerator alone.
    """
    # Without the flag the library takes several processes that find no accelerator for as many single ones.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    return PartialState(cpu=cpu, timeout=_PATIENCE)


@contextmanager
def main_first() -> Iterator[None]:
    """Runs the block on rank 0 first, then on all other ranks."""
    with world().main_process_first():
        yield


def close() -> None:
    """Leaves the other processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def open_accelerator(precision: str, operation: Operation, directory: Path) -> Accelerator:
    """Placement, DistributedDataParallel, autocast and trackers of one fit.

    Args:
        precision: ``fp32`` or ``bf16``; what a launcher's environment says of it is passed over.
        operation: the tracker.
        directory: of the checkpoint.
    """
    cpu = world().device.type == "cpu"
    # The library keeps the precision for the whole process, and fits of one process may differ in it.
    AcceleratorState._reset_state(reset_partial_state=False)
    return Accelerator(
        cpu=cpu,
        mixed_precision="bf16" if precision == "bf16" else "no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        log_with=operation.track,
        project_dir=str(operation.log_dir or directory),
        kwargs_handlers=[
            # A batch of text alone leaves the vision encoder without gradient, on every process alike.
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=_PATIENCE),
        ],
    )


def to_device(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The tensors on the device; from pinned memory and without waiting where that is CUDA."""
    return {name: _moved(tensor, device) for name, tensor in tensors.items()}


def move_privileged(
    groups: Mapping[str, tuple[Tensor, Tensor]], device: torch.device
) -> dict[str, tuple[Tensor, Tensor]]:
    """Group -> (values, presence) on the device."""
    return {name: (_moved(values, device), _moved(presence, device)) for name, (values, presence) in groups.items()}


def batch_to_device(batch: Batch, device: torch.device) -> Batch:
    """The whole batch on the device."""
    if device.type == "cpu":
        return batch
    return Batch(
        to_device(batch.inputs, device),
        move_privileged(batch.privileged, device),
        {name: _rows_to_device(rows, device) for name, rows in batch.tasks.items()},
    )


def _rows_to_device(rows: TaskRows, device: torch.device) -> TaskRows:
    tensors = {name: value for name, value in vars(rows).items() if isinstance(value, Tensor)}
    return replace(rows, **{name: _moved(tensor, device) for name, tensor in tensors.items()})


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
