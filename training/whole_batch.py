"""The outputs of a whole batch where a process computed those of its own rows only.

Every method's loss is a function of all outputs of the batch: a mean over labelled rows, a weighting by the batch's
mean, a shuffle of its rows. So it is computed on all of them, on every process: this one's own rows carry gradient, the
others' are copies without. The processes' gradients then add up to the gradient of the loss, whatever the loss is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor

from training.shares import Span

Outputs = Mapping[str, Tensor]


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
