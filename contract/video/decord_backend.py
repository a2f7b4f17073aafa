"""Wanted pictures through decord, the selectable second backend.

decord reads by path only here: from a buffer, a truncated AVI ends the process (``docs/adr/0003-decoders.md``). Even so
call it only in a process that may be killed. Which pictures are wanted is decided by the same index as
for PyAV, so both backends give the same ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.errors import CorruptMedia, FrameTooLarge, UnsupportedMedia
from contract.video.pyav_backend import Allowance

# Read once, when the library loads: by default it tries 10240 times before it gives a damaged file up.
os.environ.setdefault("DECORD_EOF_RETRY_MAX", "2048")

_MAX_DRIFT_S = 0.005
"""How far decord's word on when a picture starts may lie from the container's (it keeps it as a 32-bit float)."""
_MAX_START_S = 1e9


def pick(
    path: Path, times_s: Sequence[float], wanted: Sequence[int], allowance: Allowance
) -> Iterator[NDArray[np.uint8]]:
    """The wanted pictures as (H, W, 3) uint8, upright, one at a time.

    Args:
        path: the file.
        times_s: when each picture appears, as in ``VideoProbe.times_s``.
        wanted: which of them, ascending.
        allowance: how large a picture may be, how many threads decode, whether anybody still wants the clip.

    Raises:
        UnsupportedMedia: decord's old FFmpeg does not know the codec or places pictures elsewhere, or decord is
            not installed.
        CorruptMedia: it fails on the way.
        FrameTooLarge: the bitstream holds larger pictures than the header said.
        Stopped: nobody wants the clip any more.
    """
    limits = allowance.limits
    try:
        import decord
    except ImportError:
        raise UnsupportedMedia("this service was set to decode with decord, which is not installed") from None
    damage = (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError)
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=limits.decoder_threads)
        starts = np.asarray(reader.get_frame_timestamp(range(len(reader))))[:, 0]
    except (*damage, IndexError):
        raise UnsupportedMedia("decord cannot open this container or codec: send H.264 in MP4") from None
    ranks = _ranks(starts, times_s, wanted)
    at = 0
    for rank in ranks:
        try:
            # One after the other: after a seek or a skip decord gives wrong pictures on some streams.
            for _ in range(at, rank):
                allowance.go_on()
                reader.next()
            allowance.go_on()
            picture: NDArray[np.uint8] = reader.next().asnumpy()
            at = rank + 1
        except (*damage, StopIteration):
            raise CorruptMedia("too little of the video can be decoded: send an undamaged file") from None
        if picture.ndim != 3 or picture.shape[2] != 3:
            raise UnsupportedMedia("decord cannot convert this video's pictures: send H.264 in MP4")
        if picture.shape[0] * picture.shape[1] > limits.max_frame_pixels:
            raise FrameTooLarge(f"a picture inside the video is over the limit of {limits.max_frame_pixels} pixels")
        yield picture


def _ranks(starts_s: NDArray[np.float64], times_s: Sequence[float], wanted: Sequence[int]) -> list[int]:
    """Where decord keeps the wanted pictures.

    Raises:
        UnsupportedMedia: not at the times that the container gives, for instance because it reads another stream.
    """
    if np.abs(starts_s).max() > _MAX_START_S:  # it found no start time, as in a Matroska of few pictures
        if len(starts_s) != len(times_s):
            raise _placed_elsewhere()
        return list(wanted)
    starts_s = starts_s - starts_s[0]
    ranks = [int(np.abs(starts_s - times_s[i]).argmin()) for i in wanted]
    if any(abs(starts_s[rank] - times_s[i]) > _MAX_DRIFT_S for rank, i in zip(ranks, wanted, strict=True)):
        raise _placed_elsewhere()
    return ranks


def _placed_elsewhere() -> UnsupportedMedia:
    return UnsupportedMedia("decord does not place this video's pictures where the container does: send H.264 in MP4")
