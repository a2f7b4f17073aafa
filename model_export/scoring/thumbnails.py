"""Frames as the model saw them, as small JPEGs that a page carries within itself."""

from __future__ import annotations

import base64
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

SIDE = 128
"""Longest side in pixels: frames are square, and larger ones are made smaller."""
_ONE_SECOND = Fraction(1)
_QUALITY = 5  # of mjpeg's quantiser: 2 is best, 31 worst


def thumbnails(frames_TSSC: NDArray[np.uint8], number: int) -> list[str]:
    """Data URIs of ``number`` frames at equal distances, first and last not among them where there are more."""
    positions = np.linspace(0, len(frames_TSSC), 2 * number + 1)[1::2].astype(int)
    return [data_uri(frames_TSSC[t]) for t in dict.fromkeys(positions.tolist())]


def data_uri(picture_SSC: NDArray[np.uint8]) -> str:
    """The picture as ``data:image/jpeg;base64,...``."""
    side = min(SIDE, picture_SSC.shape[0]) // 2 * 2
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_SSC), format="rgb24")
    small = frame.reformat(width=side, height=side, format="yuvj420p")
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = side, side, "yuvj420p"
    encoder.qmin = encoder.qmax = _QUALITY
    encoder.time_base = small.time_base = _ONE_SECOND
    data = b"".join(bytes(packet) for packet in [*encoder.encode(small), *encoder.encode(None)])
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"
