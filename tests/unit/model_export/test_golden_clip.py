"""The golden clip is small, the same each time, and shows as many different frames as a model reads."""

from __future__ import annotations

import numpy as np
import pytest

from contract.input_spec import BurstSpec, InputSpec
from contract.replay import decode_bytes
from contract.video import DecodeLimits
from model_export.golden_clip import draw_clip

BURSTS = BurstSpec(moments=4, pictures=3, step_ms=120)
SPECS = [
    InputSpec(frames=1, frame_size=64),
    InputSpec(frames=8, frame_size=16),
    InputSpec(frames=64, frame_size=64),
    InputSpec(frames=12, frame_size=64, sampling="bursts", burst=BURSTS),
]


@pytest.mark.parametrize("spec", SPECS)
def test_every_frame_is_another_picture(spec: InputSpec) -> None:
    decoded = decode_bytes(draw_clip(spec), spec, DecodeLimits())
    assert len(set(decoded.times_ms)) == spec.frames
    assert len({picture.tobytes() for picture in decoded.pixels}) == spec.frames
    assert int(np.ptp(decoded.pixels)) > 200


def test_it_is_small() -> None:
    clip = draw_clip(InputSpec())
    assert len(clip) < 10_000
