"""Logits of rows, in evaluation mode. Reads no configuration file and no artefact."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.decision import TaskSpec
from training.data.loading.epoch_batches import evaluation_batches
from training.data.loading.row_set import Batch, RowSet
from training.fitting.processes import batch_to_device, world
from training.models.trained import outputs_of


def forward(model: nn.Module, batch: Batch, precision: str = "fp32") -> dict[str, Tensor]:
    """Task -> (B, K) fp32 logits, on the model's device."""
    device = next(model.parameters()).device
    batch = batch_to_device(batch, device)
    context: Any = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
    with context:
        logits = outputs_of(model, batch.inputs, batch.privileged)
    return {name: value.float() for name, value in logits.items()}


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
        outputs = forward(model, batch)
        for name, values in outputs.items():
            logits[name][positions] = values.cpu().numpy()
    if accelerator is None or accelerator.num_processes == 1:
        return logits
    # Each row is zero everywhere but on the process that predicted it.
    return {name: _sum_over_processes(values, accelerator) for name, values in logits.items()}


def _sum_over_processes(values_NK: NDArray[np.float32], accelerator: Accelerator) -> NDArray[np.float32]:
    summed = accelerator.reduce(torch.from_numpy(values_NK).to(accelerator.device), reduction="sum")
    return np.asarray(summed.cpu().numpy(), np.float32)
