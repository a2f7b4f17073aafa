"""A worker's answer is checked: it comes from a process that met hostile bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from contract.errors import NoFrames
from service.decoding.answer import refusal_in, video_in

PIXELS = np.zeros((2, 4, 4, 3), np.uint8)
GOOD: dict[str, Any] = {
    "times_ms": [0, 40.5],
    "container": "mp4",
    "codec": "h264",
    "width": 64,
    "height": 48,
    "duration_ms": 80.0,
}


def test_a_good_answer() -> None:
    video = video_in(GOOD, PIXELS)
    assert video is not None
    assert (video.times_ms, video.codec, video.width) == ((0.0, 40.5), "h264", 64)


@pytest.mark.parametrize(
    "change",
    [
        {"times_ms": [0]},
        {"times_ms": [0, float("nan")]},
        {"times_ms": "00"},
        {"times_ms": [0, "1"]},
        {"codec": 3},
        {"width": None},
        {"duration_ms": float("inf")},
    ],
)
def test_a_strange_answer_is_none(change: dict[str, Any]) -> None:
    assert video_in(GOOD | change, PIXELS) is None


def test_a_refusal_is_the_contracts_own_error() -> None:
    refusal = refusal_in({"refused": "no_frames", "detail": "x" * 1000})
    assert isinstance(refusal, NoFrames)
    assert len(refusal.detail) == 400
    assert refusal_in({"refused": "made_up", "detail": "x"}) is None
    assert refusal_in({"refused": ["no_frames"], "detail": "x"}) is None
    assert refusal_in(GOOD) is None
