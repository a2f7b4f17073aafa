"""Label-preserving changes of a training clip, the same for all its frames so that motion survives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MAX_SHIFT = 0.1
"""Largest shift, as a share of the side; what enters is the edge repeated."""
_MAX_GAIN = 0.2


def augment(frames: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A flipped, shifted, brighter or darker copy of a clip (T, S, S, 3) uint8."""
    side = frames.shape[1]
    if rng.random() < 0.5:
        frames = frames[:, :, ::-1]
    pad = int(side * _MAX_SHIFT)
    top, left = rng.integers(0, 2 * pad + 1, size=2)
    padded = np.pad(frames, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    shifted = padded[:, top : top + side, left : left + side]
    gain = 1 + rng.uniform(-_MAX_GAIN, _MAX_GAIN)
    return np.clip(shifted.astype(np.float32) * gain, 0, 255).astype(np.uint8)
