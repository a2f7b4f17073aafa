"""One step of training, on one process or many, with a batch at once or in parts.

Every method's loss is a function of all outputs of the batch: a mean over labelled rows, a weighting by the batch's
mean, a shuffle of its rows. So it is computed on all of them, on every process: this one's own rows carry gradient, the
others' are copies without. The processes' gradients then add up to the gradient of the loss, whatever the loss is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from training.data.loading.row_set import Batch
from training.fitting.processes import batch_to_device, move_privileged, to_device
from training.fitting.shared_batches import Part, SharedBatch, Span
from training.models.companions import TASK_PREFIXES

Outputs = Mapping[str, Tensor]
BatchLoss = Callable[[Batch, Outputs, int], Tensor]
"""(batch, task -> logits (B, K), batches of this epoch before it) -> scalar loss."""


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
    """The loss times the number of processes: DistributedDataParallel averages gradients, and their sum is wanted."""
    return loss * len(batch.spans) if len(batch.spans) > 1 else loss


def _outputs(model: nn.Module, part: Part, dropped: frozenset[str], accelerator: Accelerator) -> dict[str, Tensor]:
    device = accelerator.device
    outputs = model(to_device(part.inputs, device), move_privileged(part.privileged, device), dropped)
    return {name: value.float() for name, value in outputs.items()}


def _unlabelled_outputs(whole: Batch) -> frozenset[str]:
    """Outputs of the tasks without a labelled row; empty where no task has one, because a step needs some gradient."""
    empty = [name for name, rows in whole.tasks.items() if len(rows.positions_N) == 0]
    if len(empty) == len(whole.tasks):
        return frozenset()
    return frozenset(empty) | {prefix + name for prefix in TASK_PREFIXES for name in empty}


def place(own: Outputs, span: Span, size: int, others: Outputs | None = None) -> dict[str, Tensor]:
    """Output -> (size, K): ``own`` (rows, K) at its span, around it ``others`` (size, K), or zeros without them.

    Where the span is empty ``own`` is a stand-in: it counts for nothing, but stays in the graph.
    """
    return {name: _placed(value, span, size, None if others is None else others[name]) for name, value in own.items()}


def _placed(own: Tensor, span: Span, size: int, others: Tensor | None) -> Tensor:
    start, stop = span
    if (start, stop) == (0, size):
        return own
    around = own.new_zeros(size, own.shape[1]) if others is None else others
    if start == stop:
        return around + 0.0 * own.sum()
    return torch.cat([around[:start], own, around[stop:]])


def gather_rows(own: Outputs, spans: Sequence[Span], accelerator: Accelerator) -> dict[str, Tensor]:
    """Output -> (size, K) without gradient: every process's rows, in the batch's order. One message.

    Args:
        own: (rows, K) of this process's span; where that is empty, anything.
        spans: of each process; they cover the batch.
        accelerator: of this process.
    """
    start, stop = spans[accelerator.process_index]
    mine_RC = torch.cat([value.detach() for value in own.values()], dim=1)[: stop - start]
    longest = max(b - a for a, b in spans)
    padded_LC = mine_RC.new_zeros(longest, mine_RC.shape[1])
    padded_LC[: len(mine_RC)] = mine_RC
    all_PLC = accelerator.gather(padded_LC).reshape(len(spans), longest, -1)
    rows_NC = torch.cat([block[: b - a] for block, (a, b) in zip(all_PLC, spans, strict=True)])
    widths = [value.shape[1] for value in own.values()]
    return dict(zip(own, rows_NC.split(widths, dim=1), strict=True))


def join(parts: Sequence[Outputs]) -> dict[str, Tensor]:
    """Output -> (rows, K) of all parts of a process's share, without gradient."""
    return {name: torch.cat([part[name].detach() for part in parts]) for name in parts[0]}
