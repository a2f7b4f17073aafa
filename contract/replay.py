"""The golden clip and title of a bundle: bytes of our own, and what must become of them at each stage.

Golden examples (``golden.npz``) begin at arrays and so prove the model alone. This begins where a request does, so that
a decoder or a tokenizer that answers otherwise than at the export is noticed.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from contract.errors import GoldenMismatch
from contract.frozen import FrozenDocument
from contract.input_spec import InputSpec
from contract.video import DecodeLimits, Frames, decode

PIXEL_TOLERANCE = 1.5
"""Mean levels of the frame that differs most. FFmpeg without vector instructions, which stands for another machine's
rounding, lies 0.7 away; another scaler, or scaling and converting in one step, at least 2.9; another colour matrix at
least 3.2; the neighbouring frame 35 (``docs/adr/0012-bundle-bytes.md``)."""
SCORE_TOLERANCE = 0.02
"""Of a calibrated probability. That rounding moves those of the default bundles by 0.008."""
TIME_TOLERANCE_MS = 1.0
_THINNED = 3
"""Of the expected frames each third pixel is kept, both ways: a ninth of the bytes, and the gap comes out alike."""


class GoldenReplay(FrozenDocument):
    """What must come of the clip ``golden.mp4`` with its texts."""

    texts: dict[str, str] = Field(min_length=1)
    """Of the fields that the input spec has."""
    input_ids: tuple[int, ...] = Field(min_length=3)
    """Exactly."""
    frame_times_ms: tuple[float, ...]
    frames_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the frames as they were at export: where it is met, none of the pixels differs."""
    pixel_tolerance: float = Field(default=PIXEL_TOLERANCE, gt=0)
    """Mean levels, of the frame that differs most."""
    scores: dict[str, dict[str, float]]
    """Task -> label -> calibrated probability."""
    score_tolerance: float = Field(default=SCORE_TOLERANCE, gt=0)
    recorded_with: dict[str, str]
    """Library -> version at export, and the machine."""


@dataclass(frozen=True)
class GoldenClip:
    """The clip and the frames it must give.

    Attributes:
        data: a small MP4.
        pixels: each third pixel of the (T, S, S, 3) uint8 frames, both ways.
    """

    data: bytes
    pixels: NDArray[np.uint8]


def thinned(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The part of (T, S, S, 3) frames that a bundle keeps."""
    return pixels[:, ::_THINNED, ::_THINNED]


def frames_digest(pixels: NDArray[np.uint8]) -> str:
    """SHA-256, in hex, of frames."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def decode_bytes(data: bytes, spec: InputSpec, limits: DecodeLimits) -> Frames:
    """The frames of a clip that is held in memory, decoded in this process: for clips of our own alone.

    Raises:
        MediaError: see ``contract.errors``.
    """
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return decode(file.fileno(), spec, limits)


def check_frames(replay: GoldenReplay, clip: GoldenClip, pixels: NDArray[np.uint8], times_ms: Sequence[float]) -> float:
    """How far the frames lie from those expected, in mean levels.

    Args:
        replay, clip: of the bundle.
        pixels: (T, S, S, 3), what the clip gave.
        times_ms: (T,).

    Raises:
        GoldenMismatch: they are other pictures, or lie over the tolerance.
    """
    shift_ms = max(abs(a - b) for a, b in zip(replay.frame_times_ms, times_ms, strict=True))
    if shift_ms > TIME_TOLERANCE_MS:
        raise GoldenMismatch("decode", shift_ms, TIME_TOLERANCE_MS, "ms between frames and those expected")
    if frames_digest(pixels) == replay.frames_digest:
        return 0.0
    difference = np.abs(thinned(pixels).astype(np.int16) - clip.pixels.astype(np.int16))
    gap = float(difference.mean(axis=(1, 2, 3)).max())
    if gap > replay.pixel_tolerance:
        raise GoldenMismatch("decode", gap, replay.pixel_tolerance, "levels between pixels and those expected")
    return gap


def check_ids(replay: GoldenReplay, input_ids: Sequence[int]) -> None:
    """Raises GoldenMismatch where a single token differs."""
    differing = sum(a != b for a, b in zip(replay.input_ids, input_ids, strict=False))
    differing += abs(len(replay.input_ids) - len(input_ids))
    if differing:
        raise GoldenMismatch("tokenisation", differing, 0, "tokens other than expected")


def check_scores(replay: GoldenReplay, scores: Mapping[str, Mapping[str, float]]) -> float:
    """How far the calibrated probabilities lie from those expected, at most.

    Args:
        replay: of the bundle.
        scores: task -> label -> probability.

    Raises:
        GoldenMismatch: over the tolerance.
    """
    gaps = [abs(scores[task][label] - p) for task, expected in replay.scores.items() for label, p in expected.items()]
    gap = max(gaps)
    if not gap <= replay.score_tolerance:
        raise GoldenMismatch("inference", gap, replay.score_tolerance, "between a score and the one expected")
    return gap
