"""The benchmark's clip: generated, so that nobody's video is needed and everybody's figures speak of the same one."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def write_clip(
    path: Path, *, seconds: int = 15, width: int = 1280, height: int = 720, fps: int = 30, kbit_s: int = 1200
) -> None:
    """Writes H.264 in MP4, a key picture every 250 frames: drifting texture with noise, as costly as real footage."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (height // 8, width // 4, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "g": "250", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", kbit_s * 1000
        for i in range(seconds * fps):
            left = 2 * i % width
            picture = texture[:, left : left + width].astype(np.int16)
            picture = picture + rng.integers(-12, 13, picture.shape, dtype=np.int16)
            frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
