"""Changes of a training clip, the same for all its frames so that motion survives.

Drawing a change is apart from applying it, so that one random stream decides an epoch, whichever process applies
the changes. Which changes leave a label what it is, the preset says: a flip destroys a task in which direction matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.video.pyav_backend import resize
from training.config import AugmentationConfig


@dataclass(frozen=True)
class Change:
    """One clip's change.

    Attributes:
        flip: whether left and right are exchanged.
        top, left: where the shifted picture starts in the padded one, in pixels: twice the pad at most.
        gain: factor of the brightness.
        scale: side of the part that is kept and enlarged, as a share of the picture's.
        corner: where that part starts, as a share of what is left over, (down, right).
        colours: factor of each channel.
    """

    flip: bool
    top: int
    left: int
    gain: float
    scale: float = 1.0
    corner: tuple[float, float] = (0.0, 0.0)
    colours: tuple[float, float, float] = (1.0, 1.0, 1.0)


def draw_change(side: int, rng: np.random.Generator, config: AugmentationConfig | None = None) -> Change:
    """The change of the next clip, whose pictures are ``side`` pixels wide."""
    options = config or AugmentationConfig()
    flip = bool(rng.random() < 0.5)
    top, left = rng.integers(0, 2 * _pad(side, options) + 1, size=2)
    change = Change(flip and options.flip, int(top), int(left), 1 + rng.uniform(-options.gain, options.gain))
    if options.scale == 0 and options.colour == 0:
        return change
    scale, corner = 1 - rng.uniform(0, options.scale), rng.random(2)
    colours = 1 + rng.uniform(-options.colour, options.colour, size=3)
    return Change(
        change.flip,
        change.top,
        change.left,
        change.gain,
        float(scale),
        (float(corner[0]), float(corner[1])),
        (float(colours[0]), float(colours[1]), float(colours[2])),
    )


def apply_change(
    frames: NDArray[np.uint8], change: Change, config: AugmentationConfig | None = None
) -> NDArray[np.uint8]:
    """A changed copy of a clip (T, S, S, 3) uint8. What a shift lets in is the edge repeated."""
    side = frames.shape[1]
    pad = _pad(side, config or AugmentationConfig())
    if change.flip:
        frames = frames[:, :, ::-1]
    if change.scale < 1.0:
        frames = _enlarged(frames, change)
    padded = np.pad(frames, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    shifted = padded[:, change.top : change.top + side, change.left : change.left + side]
    factors = np.asarray(change.colours, np.float32) * np.float32(change.gain)
    return np.clip(shifted.astype(np.float32) * factors, 0, 255).astype(np.uint8)


def _enlarged(frames: NDArray[np.uint8], change: Change) -> NDArray[np.uint8]:
    side = frames.shape[1]
    kept = max(8, round(side * change.scale))
    top, left = (round(share * (side - kept)) for share in change.corner)
    return np.stack([resize(f[top : top + kept, left : left + kept], side, "bicubic") for f in frames])


def _pad(side: int, config: AugmentationConfig) -> int:
    return int(side * config.shift)
