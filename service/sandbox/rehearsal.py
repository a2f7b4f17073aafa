"""A small clip of our own: decoded once before a worker is confined, so that all is loaded, and once behind the filter.

A worker whose libraries need something that the filter refuses then fails to start, and no caller's clip is blamed.
"""

from __future__ import annotations

import contextlib
import os
from fractions import Fraction

import av
import numpy as np

from contract.errors import InputError
from contract.input_spec import InputSpec
from contract.video import Backend, DecodeLimits, Frames, decode, decode_cost

_SPEC = InputSpec(frames=2, frame_size=32)
_PICTURES, _WIDTH, _HEIGHT = 6, 64, 48


class RehearsalFailed(Exception):
    """The confined worker does not decode as it did before."""


class Rehearsal:
    """The clip, in memory, and how it decodes in an unconfined process."""

    def __init__(self, backend: Backend) -> None:
        self._limits = DecodeLimits(backend=backend)
        self._clip = os.memfd_create("rehearsal")
        self._junk = os.memfd_create("junk")
        _write_clip(self._clip)
        os.write(self._junk, bytes(range(256)))
        self._expected = self._played()

    def repeat(self) -> None:
        """Decodes it again, and lets it go.

        Raises:
            RehearsalFailed: it comes out otherwise.
        """
        try:
            found = self._played()
        except (InputError, OSError) as error:
            raise RehearsalFailed(f"confined, the decoder does not work: {type(error).__name__}: {error}") from error
        if found.times_ms != self._expected.times_ms or not np.array_equal(found.pixels, self._expected.pixels):
            raise RehearsalFailed("confined, the decoder gives other pictures")
        os.close(self._clip)
        os.close(self._junk)

    def _played(self) -> Frames:
        with contextlib.suppress(InputError):  # a refusal loads what a clip that decodes does not
            decode(self._junk, _SPEC, self._limits)
        decode_cost(self._clip, _SPEC, self._limits)
        return decode(self._clip, _SPEC, self._limits)


def _write_clip(descriptor: int) -> None:
    with av.open(f"/proc/self/fd/{descriptor}", "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        for i in range(_PICTURES):
            picture = np.full((_HEIGHT, _WIDTH, 3), 40 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
