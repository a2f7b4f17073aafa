"""Puts weights that somebody else trained into an ``XVLM``: all that should be there, or none and a list of faults."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.models.pretrained_keys import Translation
from training.models.xvlm import XVLM

FRESH_BY_DESIGN = (
    r"vision_encoder\.temporal\.",
    r"vision_encoder\.frame_position$",
    r"vision_encoder\.norm\.",
    r"no_video$",
    r"no_text$",
    r"pooled_projection\.",
    r"heads\.",
)
"""What X-VLM does not have, and a checkpoint of it therefore need not hold."""
_TABLE_SUFFIX = ".relative_position_bias_table"


class PretrainedError(Exception):
    """Weights that do not fit. The message names the source and every tensor that is at fault."""


@dataclass(frozen=True)
class LoadReport:
    """What came of a load, in the model's order and the file's.

    Attributes:
        loaded: our parameters that now hold the source's weights.
        fresh: our parameters that were left as they were initialised.
        ignored: the source's names that are of no use here, by design.
    """

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    ignored: tuple[str, ...]


def install(model: XVLM, found: Translation, *, source: str, may_be_fresh: Iterable[str] = ()) -> LoadReport:
    """Copies the tensors into the model. Bias tables of another window are resized.

    Args:
        model: changed in place, and only where everything fits.
        found: tensors under the model's names.
        source: what the message of an error calls it.
        may_be_fresh: patterns of parameters, besides ``FRESH_BY_DESIGN``, that the source need not hold.

    Raises:
        PretrainedError: unexpected, missing or misshapen tensors; all of them are listed.
    """
    parameters = dict(model.named_parameters())
    fresh_pattern = re.compile("|".join((*FRESH_BY_DESIGN, *may_be_fresh)))
    tensors = {n: _fitted(n, t, parameters[n]) if n in parameters else t for n, t in found.tensors.items()}
    fresh = tuple(name for name in parameters if name not in tensors)
    strangers = {found.origins[name] for name in tensors if name not in parameters}
    misshapen = [
        f"{found.origins[name]} {tuple(tensor.shape)}, the model's {name} is {tuple(parameters[name].shape)}"
        for name, tensor in tensors.items()
        if name in parameters and tensor.shape != parameters[name].shape
    ]
    faults = {
        "unexpected": sorted({*found.unexpected, *strangers}),
        "missing": [name for name in fresh if not fresh_pattern.match(name)],
        "of another shape": misshapen,
    }
    if any(faults.values()):
        told = "; ".join(f"{len(names)} {what}: {', '.join(names)}" for what, names in faults.items() if names)
        raise PretrainedError(f"{source}: {told}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)
    return LoadReport(tuple(n for n in parameters if n in tensors), fresh, tuple(found.ignored))


def resize_bias_table(table_RN: Tensor, rows: int) -> Tensor:
    """The table (rows, N) for another window, interpolated bicubically over the (2w-1, 2w-1) offsets.

    Args:
        table_RN: ((2w-1)^2, N) float, one column a head.
        rows: (2w'-1)^2. Equal to R gives the table itself.

    Raises:
        ValueError: one of the two is not a square's.
    """
    if table_RN.shape[0] == rows:
        return table_RN
    old, new = math.isqrt(table_RN.shape[0]), math.isqrt(rows)
    if old * old != table_RN.shape[0] or new * new != rows:
        raise ValueError(f"{table_RN.shape[0]} and {rows} rows: a bias table covers a square of offsets")
    grid_1NHW = table_RN.float().T.reshape(1, -1, old, old)
    resized_1NHW = F.interpolate(grid_1NHW, size=(new, new), mode="bicubic")
    return resized_1NHW.reshape(-1, rows).T


def _fitted(name: str, tensor: Tensor, parameter: Tensor) -> Tensor:
    """A bias table of another window resized; anything else, and a table of other heads, as it is."""
    if not name.endswith(_TABLE_SUFFIX) or tensor.ndim != 2 or tensor.shape[1:] != parameter.shape[1:]:
        return tensor
    try:
        return resize_bias_table(tensor, parameter.shape[0])
    except ValueError:
        return tensor
