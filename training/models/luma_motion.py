"""How brightness comes back or goes on from picture to picture, without a network: almost free, so that a moment may
hold more pictures than a backbone could be paid for.

A fight is seen in how things move, to and fro and abruptly, more than in what they are; and that shows in a
picture of forty places a side. A network's maps see no more of it on clips of two seconds (docs/benchmarks).
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH: Final = 9
"""Numbers of a moment on one grid."""
_LUMA: Final = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601)."""
_TOP_SHARE: Final = 0.1
_LEAST, _LEAST_CHANGE, _LEAST_TOP = 0.05, 0.3, 1.0
"""In grey levels of 255: below them is noise, which neither logarithm nor ratio may blow up."""


def luma(moments_MPHWC: Tensor) -> Tensor:
    """luma_MPHW in 0..255 from uint8 RGB (M, P, S, S, 3)."""
    red, green, blue = (moments_MPHWC[..., i].float() * weight for i, weight in enumerate(_LUMA))
    return red + green + blue


def luma_motion(luma_MPHW: Tensor, places: int) -> Tensor:
    """(M, ``WIDTH``): motion of M moments of P pictures, three or more, on a grid of so many places a side.

    Of each three neighbouring pictures A, B, C and each place let the swing be the lesser of |B - A| and |C - B|; it
    comes back where the changes have different signs, else it goes on. Over places: the mean of what comes
    back, and over its highest tenth; the mean change; the mean of |C - A|; the mean of what goes on; the highest
    tenth of |C - B|. Of these, averaged over the moment's threes, the logarithms; and three shares: what comes back of
    all change, the same of the highest tenths, and |C - A| of all change.

    Raises:
        ValueError: the grid does not divide the picture.
    """
    side = luma_MPHW.shape[-1]
    if side % places:
        raise ValueError(f"pictures of {side} pixels a side have no grid of {places} places")
    grid_MPS = F.avg_pool2d(luma_MPHW, side // places).flatten(2)
    change_MPS = grid_MPS[:, 1:] - grid_MPS[:, :-1]
    before, after = change_MPS[:, :-1], change_MPS[:, 1:]
    swing = torch.minimum(before.abs(), after.abs())
    comes_back = before * after < 0
    back = torch.where(comes_back, swing, torch.zeros_like(swing))
    changes = (before.abs().mean(-1) + after.abs().mean(-1)) / 2
    measured = (back.mean(-1), _top(back), changes, (before + after).abs().mean(-1), (swing - back).mean(-1))
    back_M, back_top_M, change_M, chord_M, on_M, top_M = (of.mean(1) for of in (*measured, _top(after.abs())))
    logarithms = [(of + _LEAST).log() for of in (back_M, back_top_M, change_M, chord_M, on_M, top_M)]
    change_M, top_M = change_M + _LEAST_CHANGE, top_M + _LEAST_TOP
    return torch.stack([*logarithms, back_M / change_M, back_top_M / top_M, chord_M / change_M], dim=1)


def _top(map_MPS: Tensor) -> Tensor:
    """(M, P): the mean over the share of places where it is greatest."""
    count = max(1, round(_TOP_SHARE * map_MPS.shape[-1]))
    return map_MPS.topk(count, dim=-1).values.mean(dim=-1)
