"""Limits on the size of a clip and the cost of decoding it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from contract.frozen import FrozenDocument


class Backend(StrEnum):
    PYAV = "pyav"
    DECORD = "decord"


class DecodeLimits(FrozenDocument):
    """Bounds checked against the container's index, before the first frame is decoded."""

    max_frame_pixels: int = Field(default=4096 * 2304, ge=1)
    """Width x height of one picture. The default takes 4K and refuses 8K."""
    max_decode_pixels: int = Field(default=4_000_000_000, ge=1)
    """Width x height x pictures that the decoder must go through to reach the wanted ones."""
    max_duration_s: float = Field(default=600.0, gt=0)
    """Length of the video, in seconds."""
    max_packets: int = Field(default=100_000, ge=1)
    """Packets of the video stream that are indexed."""
    decoder_threads: int = Field(default=1, ge=1, le=64)
    """Threads of one decode. More of them help one clip and harm many."""
    backend: Backend = Backend.PYAV
    """``pyav``, or ``decord`` where its extra is installed; it refuses some files that PyAV reads."""
