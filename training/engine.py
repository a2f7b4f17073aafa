"""One epoch of training, one pass of prediction. Knows no configuration file and no artefact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from contract.decision import TaskSpec
from training.batches import Batch, RowSet, evaluation_batches
from training.models.companions import JointPair
from training.models.df_xvlm import DFXVLM, PrivilegedOnly

BatchLoss = Callable[[Batch, Mapping[str, Tensor], int], Tensor]
"""(batch, task -> logits (B, K), batches of this epoch before it) -> scalar loss."""


def forward(model: nn.Module, batch: Batch, precision: str = "fp32") -> dict[str, Tensor]:
    """Task -> (B, K) fp32 logits; the privileged features go to a teacher and to nothing else."""
    context: Any = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()
    with context:
        if isinstance(model, DFXVLM | PrivilegedOnly | JointPair):
            logits = model(**batch.inputs, privileged=batch.privileged)
        else:
            logits = model(**batch.inputs)
    return {name: value.float() for name, value in logits.items()}


def train_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    loss_of: BatchLoss,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    *,
    clip_norm: float,
    precision: str,
    total: int,
    label: str,
) -> float:
    """Trains on every batch once and returns the mean loss.

    Raises:
        FloatingPointError: the loss is no longer finite.
    """
    model.train()
    losses = []
    for index, batch in enumerate(tqdm(batches, total=total, desc=label, leave=False, disable=None)):
        loss = loss_of(batch, forward(model, batch, precision), index)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"{label}: the loss is {loss.item()}: lower the learning rate or the batch's lambda"
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return float(np.mean(losses))


@torch.no_grad()
def predict(
    model: nn.Module, rows: RowSet, tasks: Sequence[TaskSpec], *, batch_size: int = 32
) -> dict[str, NDArray[np.float32]]:
    """Task -> (N, K) fp32 logits of every row, in the rows' order, whether labelled or not."""
    model.eval()
    logits = {t.name: np.zeros((len(rows.rows), t.logits_width), np.float32) for t in tasks}
    for positions, batch in evaluation_batches(rows, batch_size):
        for name, values in forward(model, batch).items():
            logits[name][positions] = values.numpy()
    return logits
