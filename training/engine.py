"""One step of training, one pass of prediction. Knows no configuration file and no artefact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.decision import TaskSpec
from training.batches import Batch, RowSet, evaluation_batches
from training.models.companions import TASK_PREFIXES
from training.models.trained import outputs_of
from training.processes import batch_to_device, move_privileged, to_device, world
from training.shares import Part, SharedBatch
from training.whole_batch import gather_rows, join, place

BatchLoss = Callable[[Batch, Mapping[str, Tensor], int], Tensor]
"""(batch, task -> logits (B, K), batches of this epoch before it) -> scalar loss."""


def forward(model: nn.Module, batch: Batch, precision: str = "fp32") -> dict[str, Tensor]:
    """Task -> (B, K) fp32 logits, on the model's device."""
    device = next(model.parameters()).device
    batch = batch_to_device(batch, device)
    context: Any = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
    with context:
        logits = outputs_of(model, batch.inputs, batch.privileged)
    return {name: value.float() for name, value in logits.items()}


def train_step(model: nn.Module, batch: SharedBatch, loss_of: BatchLoss, index: int, accelerator: Accelerator) -> float:
    """Adds the gradient of the whole batch's loss to the parameters, on every process the same; returns that loss.

    Args:
        model: a ``Trained`` that the accelerator prepared.
        batch: this process's share.
        loss_of: of the whole batch. Where the share has several parts, a row's gradient must not depend on what the
            model says of other rows (``Method.couples_rows``).
        index: of the batch in its epoch.
        accelerator: of this process.
    """
    whole = batch_to_device(batch.whole, accelerator.device)
    dropped = _unlabelled_outputs(whole)
    if not batch.in_parts:
        outputs = _outputs(model, batch.parts[0], dropped, accelerator)
        others = gather_rows(outputs, batch.spans, accelerator) if len(batch.spans) > 1 else None
        loss = loss_of(whole, place(outputs, batch.parts[0].span, batch.size, others), index)
        accelerator.backward(_summed(loss, batch))
        return float(loss.item())
    seen = []
    for number, part in enumerate(batch.parts, start=1):
        with nullcontext() if number == len(batch.parts) else accelerator.no_sync(model):
            outputs = _outputs(model, part, dropped, accelerator)
            accelerator.backward(_summed(loss_of(whole, place(outputs, part.span, batch.size), index), batch))
        seen.append({name: value.detach() for name, value in outputs.items()})
    with torch.no_grad():
        own = join(seen)
        everyone = gather_rows(own, batch.spans, accelerator) if len(batch.spans) > 1 else own
        return float(loss_of(whole, everyone, index).item())


def _summed(loss: Tensor, batch: SharedBatch) -> Tensor:
    """DistributedDataParallel averages the processes' gradients; their sum is the gradient of the loss."""
    return loss * len(batch.spans) if len(batch.spans) > 1 else loss


def _outputs(model: nn.Module, part: Part, dropped: frozenset[str], accelerator: Accelerator) -> dict[str, Tensor]:
    device = accelerator.device
    outputs = model(to_device(part.inputs, device), move_privileged(part.privileged, device), dropped)
    return {name: value.float() for name, value in outputs.items()}


def _unlabelled_outputs(whole: Batch) -> frozenset[str]:
    """Outputs of the tasks that no row is labelled for; none where that is all of them, for a step needs a gradient."""
    empty = [name for name, rows in whole.tasks.items() if len(rows.positions_N) == 0]
    if len(empty) == len(whole.tasks):
        return frozenset()
    return frozenset(empty) | {prefix + name for prefix in TASK_PREFIXES for name in empty}


@torch.no_grad()
def predict(
    model: nn.Module,
    rows: RowSet,
    tasks: Sequence[TaskSpec],
    *,
    batch_size: int = 32,
    accelerator: Accelerator | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Task -> (N, K) fp32 logits of every row, in the rows' order, whether labelled or not.

    Args:
        model: moved to this process's device and left there, in evaluation mode.
        rows: to predict.
        tasks: whose logits are wanted.
        batch_size: of the forward passes.
        accelerator: shares the rows among its processes, all of which must call; every one gets the whole result.
    """
    model.to(world().device).eval()
    share = (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)
    logits = {t.name: np.zeros((len(rows.rows), t.logits_width), np.float32) for t in tasks}
    for positions, batch in evaluation_batches(rows, batch_size, share):
        found = forward(model, batch)
        for name, values in found.items():
            logits[name][positions] = values.cpu().numpy()
    if accelerator is None or accelerator.num_processes == 1:
        return logits
    # Each row is zero everywhere but on the process that predicted it.
    return {name: _sum_over_processes(values, accelerator) for name, values in logits.items()}


def _sum_over_processes(values_NK: NDArray[np.float32], accelerator: Accelerator) -> NDArray[np.float32]:
    summed = accelerator.reduce(torch.from_numpy(values_NK).to(accelerator.device), reduction="sum")
    return np.asarray(summed.cpu().numpy(), np.float32)
