"""The golden clip: drawn, not filmed, and sharp enough that another scaler, colour matrix or choice of frames shows."""

from __future__ import annotations

import io
import math
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from contract.input_spec import InputSpec

_RATE = 25
_OPTIONS = {
    "g": "8",
    "bf": "2",
    "crf": "32",
    "preset": "medium",
    "x264-params": "threads=1:lookahead-threads=1:mbtree=0",
}
"""Key pictures and pictures between them, so that wanted ones are picked as they are from most uploads. One thread and
no macroblock tree, so that the same pictures give the same bytes: with it, x264 165 wrote others for up to 13 of 1,000
clips of pictures so small, without it for none of 24,000."""
_PICTURES_A_FRAME, _MOST_PICTURES = 3, 500


def draw_clip(spec: InputSpec) -> bytes:
    """An H.264 MP4 of some KB.

    It is long enough for as many different frames as the spec reads, and somewhat larger than they are, so that scaling
    shows.
    """
    held = io.BytesIO()
    pictures = _pictures(spec)
    width, height = 2 * round(spec.frame_size * 5 / 7), 2 * round(spec.frame_size * 15 / 28)
    with av.open(held, "w", format="mp4", options={"fflags": "+bitexact"}) as container:  # no time of making in it
        stream = container.add_stream("libx264", rate=Fraction(_RATE), options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(pictures):
            frame = av.VideoFrame.from_ndarray(_picture(width, height, number / pictures), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return held.getvalue()


def _pictures(spec: InputSpec) -> int:
    """So many that every frame can be another picture, and bursts stand apart."""
    if spec.burst is None:
        return max(24, _PICTURES_A_FRAME * spec.frames)
    burst_s = spec.burst.pictures * spec.burst.step_ms / 1000
    return min(_MOST_PICTURES, max(24, math.ceil(1.5 * spec.burst.moments * burst_s * _RATE)))


def _picture(width: int, height: int, moment: float) -> NDArray[np.uint8]:
    """A square crosses a gradient with a chequered half and fine stripes; ``moment`` in [0, 1)."""
    row, column = np.mgrid[0:height, 0:width]
    picture = np.empty((height, width, 3), np.uint8)
    picture[..., 0] = column * 180 // width + 40
    picture[..., 1] = row * 160 // height + 30
    picture[..., 2] = 60 + int(moment * 120)
    cell = max(2, min(4, width // 10))
    chequered = ((column // cell + row // cell) % 2 == 1) & (column > width // 2)
    picture[chequered] = (235, 235, 225)
    side, top = height // 4, height // 3
    left = int(moment * (width - side))
    picture[top : top + side, left : left + side] = (230, 40, 30)
    striped = (column // 2 % 2 == 0) & (row > 3 * height // 4) & (column < width // 3)
    picture[striped] = (20, 20, 20)
    return picture
