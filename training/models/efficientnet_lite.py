"""EfficientNet-Lite: picture -> feature maps, under the parameter names of the public PyTorch checkpoints.

Lite is EfficientNet (arXiv:1905.11946) without squeeze-and-excitation, with ReLU6 for swish, and with stem and head
that do not grow (the TensorFlow repository's ``efficientnet_lite_builder``). Padding is TensorFlow's "same": an odd
rest goes to the right and below, so strided convolutions look at other pixels than torch's symmetric padding would.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

VARIANTS: Final[dict[str, tuple[float, float]]] = {
    "lite0": (1.0, 1.0),
    "lite1": (1.0, 1.1),
    "lite2": (1.1, 1.2),
    "lite3": (1.2, 1.4),
    "lite4": (1.4, 1.8),
}
"""Variant -> factors of width and depth."""

_STAGES: Final = (
    # repeats, kernel, stride, expansion, output channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_MIDDLE: Final = 3
"""Pictures: as few as show what moves to and fro."""
_STEM_CHANNELS: Final = 32
_HEAD_CHANNELS: Final = 1280
_NORM_EPSILON: Final = 1e-3
_MAP_STAGES: Final = {"stride16_first": 3, "stride16": 4, "stride32_first": 5, "stride32": 6}
"""Map -> the stage that ends with it: the two of a sixteenth of the picture's side, and the two of a thirty-second."""
MAPS: Final = (*_MAP_STAGES, "head")
"""Each lies behind those before it."""
MEAN: Final = 127.0
STD: Final = 128.0
"""Of pixels in 0..255, the same for every channel."""


class SameConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow's "same" does."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C', ceil(H / stride), ceil(W / stride)) from (N, C, H, W)."""
        paddings = []
        for side, kernel, stride in zip(reversed(x.shape[-2:]), self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((math.ceil(int(side) / stride) - 1) * stride + kernel - int(side), 0)
            paddings += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, paddings), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection; the input is added where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.adds_input = stride == 1 and inputs == outputs
        if expansion != 1:
            self._expand_conv = SameConv2d(inputs, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, eps=_NORM_EPSILON)
        self.expands = expansion != 1
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, eps=_NORM_EPSILON)
        self._project_conv = SameConv2d(inner, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=_NORM_EPSILON)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C', H', W')."""
        y = F.relu6(self._bn0(self._expand_conv(x_NCHW))) if self.expands else x_NCHW
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return y + x_NCHW if self.adds_input else y


class EfficientNetLite(nn.Module):
    """Pictures -> feature maps: two of stride 16, two of stride 32, and behind the last convolution.

    Args:
        variant: a name in ``VARIANTS``.

    Attributes:
        channels: map -> its number of channels C.
    """

    def __init__(self, variant: str) -> None:
        super().__init__()
        width, depth = VARIANTS[variant]
        self._conv_stem = SameConv2d(3, _STEM_CHANNELS, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(_STEM_CHANNELS, eps=_NORM_EPSILON)
        blocks, inputs, ends = [], _STEM_CHANNELS, []
        for number, (repeats, kernel, stride, expansion, channels) in enumerate(_STAGES):
            outputs = _rounded(channels, width)
            fixed = number in (0, len(_STAGES) - 1)
            for repeat in range(repeats if fixed else math.ceil(repeats * depth)):
                blocks.append(InvertedResidual(inputs, outputs, kernel, stride if repeat == 0 else 1, expansion))
                inputs = outputs
            ends.append((len(blocks), outputs))
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv2d(inputs, _HEAD_CHANNELS, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(_HEAD_CHANNELS, eps=_NORM_EPSILON)
        self._ends = {name: ends[stage][0] for name, stage in _MAP_STAGES.items()}
        self.channels = {name: ends[stage][1] for name, stage in _MAP_STAGES.items()} | {"head": _HEAD_CHANNELS}

    def needed(self, names: Sequence[str]) -> int:
        """How many of the blocks the maps of these names need: the first so many are computed."""
        return max(self._ends.get(name, len(self._blocks)) for name in names)

    def forward(
        self, pixels_NCHW: Tensor, names: Sequence[str] = MAPS, *, of_middle: Collection[str] = (), each: int = 1
    ) -> dict[str, Tensor]:
        """The maps asked for: (N, C, H / 16, W / 16) or (N, C, H / 32, W / 32), sides rounded up.

        Args:
            pixels_NCHW: (N, 3, H, W) float RGB in 0..255.
            names: of ``MAPS``.
            of_middle: those of ``names`` that are computed of the middle three of each so many pictures alone
                (3 N / each). They lie behind all others.
            each: how many pictures belong together; three or more.
        """
        x = F.relu6(self._bn0(self._conv_stem((pixels_NCHW - MEAN) / STD)))
        maps: dict[str, Tensor] = {}
        of_all = self.needed([name for name in names if name not in of_middle]) if of_middle else None
        for number, block in enumerate(self._blocks[: self.needed(names)], start=1):
            x = block(x)
            maps |= {name: x for name, end in self._ends.items() if end == number}
            if number == of_all:
                first = (each - _MIDDLE) // 2
                x = x.unflatten(0, (-1, each))[:, first : first + _MIDDLE].flatten(0, 1)
        if "head" in names:
            maps["head"] = F.relu6(self._bn1(self._conv_head(x)))
        return {name: maps[name] for name in names}


def _rounded(channels: int, width: float) -> int:
    """Channels times the factor, as a multiple of 8 that is no more than a tenth below."""
    if width == 1.0:
        return channels
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded
