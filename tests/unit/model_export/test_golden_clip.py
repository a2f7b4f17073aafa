"""The golden clip is small, the same each time, and shows as many different frames as a model reads."""

from __future__ import annotations

import numpy as np
import pytest

from contract.input_spec import InputSpec
from contract.replay import decode_bytes
from contract.video import DecodeLimits
from model_export.golden_clip import draw_clip


@pytest.mark.parametrize("frames", [1, 8, 64])
def test_every_frame_is_another_picture(frames: int) -> None:
    spec = InputSpec(frames=frames, frame_size=64)
    decoded = decode_bytes(draw_clip(spec), spec, DecodeLimits())
    assert len(set(decoded.times_ms)) == frames
    assert len({picture.tobytes() for picture in decoded.pixels}) == frames
    assert int(np.ptp(decoded.pixels)) > 200


def test_it_is_small_and_the_same_each_time() -> None:
    clip = draw_clip(InputSpec())
    assert clip == draw_clip(InputSpec())
    assert len(clip) < 10_000
