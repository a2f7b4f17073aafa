"""Label-preserving changes of a training clip, the same for all its frames so that motion survives.

What is drawn stands apart from what is done, so that one stream of random numbers decides an epoch whichever
process changes the clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MAX_SHIFT = 0.1
"""Largest shift, as a share of the side; what enters is the edge repeated."""
_MAX_GAIN = 0.2


@dataclass(frozen=True)
class Change:
    """One clip's change.

    Attributes:
        flip: whether left and right are exchanged.
        top, left: where the shifted picture starts in the padded one, in pixels: twice the pad at most.
        gain: factor of the brightness.
    """

    flip: bool
    top: int
    left: int
    gain: float


def draw_change(side: int, rng: np.random.Generator) -> Change:
    """The change of the next clip, whose pictures are ``side`` pixels wide."""
    flip = bool(rng.random() < 0.5)
    top, left = rng.integers(0, 2 * _pad(side) + 1, size=2)
    return Change(flip, int(top), int(left), 1 + rng.uniform(-_MAX_GAIN, _MAX_GAIN))


def apply_change(frames: NDArray[np.uint8], change: Change) -> NDArray[np.uint8]:
    """A flipped, shifted, brighter or darker copy of a clip (T, S, S, 3) uint8."""
    side = frames.shape[1]
    pad = _pad(side)
    if change.flip:
        frames = frames[:, :, ::-1]
    padded = np.pad(frames, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    shifted = padded[:, change.top : change.top + side, change.left : change.left + side]
    return np.clip(shifted.astype(np.float32) * change.gain, 0, 255).astype(np.uint8)


def _pad(side: int) -> int:
    return int(side * _MAX_SHIFT)
