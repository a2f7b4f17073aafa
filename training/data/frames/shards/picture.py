"""Frames <-> bytes without loss: each line as its difference from the one above, which Parquet then compresses.

Measured on 24 clips of fights, 8 frames (bytes of the raw frames' 1 at 112 and 224 pixels; ms to read one clip):

    raw, zstd 3               0.53  0.46      1.2   9.4
    differences, zstd 3       0.40  0.31      3.1  10.1
    PNG                       0.59  0.47      7.7  31.3
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def to_bytes(frames: NDArray[np.uint8]) -> bytes:
    """The bytes of a clip (T, S, S, 3) uint8."""
    differences = frames.copy()
    differences[:, 1:] -= frames[:, :-1]  # modulo 256
    return differences.tobytes()


def from_bytes(stored: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The clip, read-only.

    Raises:
        ValueError: as many bytes do not make a clip of this shape.
    """
    frames = np.frombuffer(stored, np.uint8).reshape(shape).copy()
    for line in range(1, shape[1]):
        frames[:, line] += frames[:, line - 1]
    frames.flags.writeable = False
    return frames
