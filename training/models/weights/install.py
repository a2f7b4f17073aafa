"""Copies foreign pretrained weights into an ``XVLM``: all of them, or none and a list of faults."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.optimize import brentq
from torch import Tensor

from training.errors import TrainingError
from training.models.weights.official_keys import Translation
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


class PretrainedError(TrainingError):
    """Weights that do not fit. The message names the source and every tensor that is at fault."""


@dataclass(frozen=True)
class LoadReport:
    """What a load filled, left fresh and ignored.

    Attributes:
        loaded: our parameters that now hold the source's weights.
        fresh: our parameters that were left as they were initialised.
        ignored: the source's names that are of no use here, by design.
    """

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    ignored: tuple[str, ...]


def install(model: XVLM, translation: Translation, *, source: str, may_be_fresh: Iterable[str] = ()) -> LoadReport:
    """Copies the tensors into the model. Bias tables of another window are resized.

    Args:
        model: changed in place, and only where everything fits.
        translation: tensors under the model's names.
        source: what the message of an error calls it.
        may_be_fresh: patterns of parameters, besides ``FRESH_BY_DESIGN``, that the source need not hold.

    Raises:
        PretrainedError: unexpected, missing or misshapen tensors; all of them are listed.
    """
    parameters = dict(model.named_parameters())
    fresh_pattern = re.compile("|".join((*FRESH_BY_DESIGN, *may_be_fresh)))
    tensors = {n: _fitted(n, t, parameters[n]) if n in parameters else t for n, t in translation.tensors.items()}
    fresh = tuple(name for name in parameters if name not in tensors)
    strangers = {translation.origins[name] for name in tensors if name not in parameters}
    misshapen = [
        f"{translation.origins[name]} {tuple(tensor.shape)}, the model's {name} is {tuple(parameters[name].shape)}"
        for name, tensor in tensors.items()
        if name in parameters and tensor.shape != parameters[name].shape
    ]
    faults = {
        "unexpected": sorted({*translation.unexpected, *strangers}),
        "missing": [name for name in fresh if not fresh_pattern.match(name)],
        "of another shape": misshapen,
    }
    if any(faults.values()):
        summary = "; ".join(f"{len(names)} {what}: {', '.join(names)}" for what, names in faults.items() if names)
        raise PretrainedError(f"{source}: {summary}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)
    return LoadReport(tuple(n for n in parameters if n in tensors), fresh, tuple(translation.ignored))


def resize_bias_table(table_RN: Tensor, rows: int) -> Tensor:
    """The table (rows, N) for another window, as X-VLM and BEiT resize it (method.md 3.3).

    The (2w-1, 2w-1) known offsets are laid on a grid whose steps grow geometrically from 1 in the middle until it spans
    the new offsets, and bicubic splines are read at those: a patch's nearest neighbours keep their biases, and the
    far ones are stretched.

    Args:
        table_RN: ((2w-1)^2, N) float, one column a head.
        rows: (2w'-1)^2. Equal to R gives the table itself.

    Raises:
        ValueError: one of the two is not a square's of an odd side, or has no neighbours to go by.
    """
    if table_RN.shape[0] == rows:
        return table_RN
    old, new = math.isqrt(table_RN.shape[0]), math.isqrt(rows)
    if old * old != table_RN.shape[0] or new * new != rows or min(old, new) < 3 or not old % 2 == new % 2 == 1:
        raise ValueError(f"{table_RN.shape[0]} and {rows} rows: a bias table covers a square of offsets")
    known, wanted = geometric_offsets(old // 2, new // 2), np.arange(-(new // 2), new // 2 + 1, dtype=np.float64)
    degree = min(3, old - 1)
    columns = [
        RectBivariateSpline(known, known, column.reshape(old, old), kx=degree, ky=degree)(wanted, wanted).ravel()
        for column in table_RN.double().numpy().T
    ]
    return torch.from_numpy(np.stack(columns, axis=1)).to(table_RN.dtype)


def geometric_offsets(count: int, reach: int) -> NDArray[np.float64]:
    """(2 count + 1,) offsets from -reach to reach, symmetric about 0: a step of 1, then each q times the last."""
    if count == 1:
        return np.asarray([-reach, 0.0, reach])
    powers = np.arange(count)
    q = brentq(lambda base: float((base**powers).sum()) - reach, 1e-9, float(max(2, reach)))
    steps = np.cumsum(q**powers)
    return np.concatenate([-steps[::-1], [0.0], steps])


def _fitted(name: str, tensor: Tensor, parameter: Tensor) -> Tensor:
    """A bias table of another window resized; anything else, and a table of other heads, as it is."""
    if not name.endswith(_TABLE_SUFFIX) or tensor.ndim != 2 or tensor.shape[1:] != parameter.shape[1:]:
        return tensor
    try:
        return resize_bias_table(tensor, parameter.shape[0])
    except ValueError:
        return tensor
