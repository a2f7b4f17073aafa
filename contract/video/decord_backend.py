"""Wanted pictures through decord, the selectable second backend.

decord reads by path only here: from a buffer, a truncated AVI ends the process (``docs/adr/0003``). Even so
call it only in a process that may be killed. Which pictures are wanted is decided by the same index as
for PyAV, so both backends give the same ones.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import CorruptMedia, UnsupportedMedia
from contract.video.probe import PacketIndex

# Read once, when the library loads: by default it tries 10240 times before it gives a damaged file up.
os.environ.setdefault("DECORD_EOF_RETRY_MAX", "128")


def pick(path: Path, index: PacketIndex, wanted_s: Sequence[float], threads: int) -> list[NDArray[np.uint8]]:
    """The wanted pictures as (H, W, 3) uint8, upright.

    Args:
        path: the file.
        index: of the file; its timestamps must be usable (``indexed``).
        wanted_s: picture starts relative to the first one, as in ``VideoProbe.times_s``.
        threads: of the decoder.

    Raises:
        UnsupportedMedia: decord's old FFmpeg does not know the codec, or decord is not installed.
        CorruptMedia: it fails on the way.
    """
    try:
        import decord
    except ImportError:
        raise UnsupportedMedia("this service was set to decode with decord, which is not installed") from None
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=threads)
        starts = np.asarray(reader.get_frame_timestamp(range(len(reader))))[:, 0]
    except (decord.DECORDError, RuntimeError, IndexError):
        raise UnsupportedMedia("decord cannot open this container or codec: send H.264 in MP4") from None
    try:
        ranks = [int(np.abs(starts - starts[0] - wanted).argmin()) for wanted in wanted_s]
        return list(reader.get_batch(ranks).asnumpy())
    except (decord.DECORDError, RuntimeError):
        raise CorruptMedia("too little of the video can be decoded: send an undamaged file") from None
