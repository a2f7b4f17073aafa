"""The golden clip is small, the same each time, and shows as many different frames as a model reads."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from numpy.typing import NDArray

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


def pictures_of(clip: bytes) -> list[NDArray[np.uint8]]:
    """Every picture, at its own size."""
    with av.open(io.BytesIO(clip)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        (InputSpec(frames=4, frame_size=64), 24),
        (InputSpec(frames=9, frame_size=64), 27),
        (InputSpec(frames=6, frame_size=64, sampling="bursts", burst=BurstSpec(moments=3, pictures=2, step_ms=40)), 24),
        (
            InputSpec(frames=16, frame_size=64, sampling="bursts", burst=BurstSpec(moments=4, pictures=4, step_ms=402)),
            242,
        ),
        (
            InputSpec(frames=40, frame_size=64, sampling="bursts", burst=BurstSpec(moments=8, pictures=5, step_ms=400)),
            500,
        ),
    ],
)
def test_it_is_as_long_as_its_frames_need_and_no_longer(spec: InputSpec, count: int) -> None:
    """Three pictures a frame; of bursts, half as long again as all of them; at least 24, at most 500."""
    assert len(pictures_of(draw_clip(spec))) == count


@pytest.mark.parametrize(("side", "size"), [(224, (240, 320)), (112, (120, 160)), (64, (68, 92))])
def test_it_is_wider_than_high_and_somewhat_larger_than_the_frames(side: int, size: tuple[int, int]) -> None:
    assert pictures_of(draw_clip(InputSpec(frames=1, frame_size=side)))[0].shape == (*size, 3)


def test_it_holds_what_tells_scalers_and_matrices_apart() -> None:
    """Two gradients, a chequered half, stripes, and a square that crosses it all while blue grows."""
    pictures = [picture.astype(int) for picture in pictures_of(draw_clip(InputSpec(frames=8, frame_size=224)))]
    first, last = pictures[0], pictures[-1]
    quiet = first[20:60, 80:150]  # neither square, nor chequered, nor striped
    across, down = quiet.mean(axis=0), quiet.mean(axis=1)
    np.testing.assert_allclose(across[:, 0], np.arange(80, 150) * 180 // 320 + 40, atol=8)
    np.testing.assert_allclose(down[:, 1], np.arange(20, 60) * 160 // 240 + 30, atol=8)
    assert abs(quiet[..., 2].mean() - 60) < 8
    assert abs(last[20:60, 80:150][..., 2].mean() - (60 + 23 / 24 * 120)) < 8
    half = first[:80, 170:]
    assert 0.4 < (half.min(axis=2) > 190).mean() < 0.6, "every other cell is white"
    flips = np.abs(np.diff((half.min(axis=2) > 150).astype(int), axis=1)).sum(axis=1)
    assert abs(np.median(flips) - 150 / 4) < 6, "cells of four pixels"
    stripes = first[190:, :100].mean(axis=(0, 2))
    assert stripes[0::4].mean() < 60 < stripes[2::4].mean()
    assert (first[100:125, 5:50] - (230, 40, 30)).__abs__().mean() < 25, "the square begins at the left"
    assert (last[100:125, 260:300] - (230, 40, 30)).__abs__().mean() < 25, "and ends at the right"


def test_it_is_the_same_bytes_each_time_and_says_nothing_of_when_or_by_what() -> None:
    spec = InputSpec(frames=4, frame_size=64)
    clip = draw_clip(spec)
    assert clip == draw_clip(spec)
    assert b" mbtree=0" in clip, "with it, one clip in hundreds has other bytes"
    assert b"Lavf" not in clip
    with av.open(io.BytesIO(clip)) as container:
        assert not {"encoder", "creation_time"} & set(container.metadata)
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 25)
        kinds = [(packet.is_keyframe, packet.pts < packet.dts + 1) for packet in container.demux(stream) if packet.size]
    assert [key for key, _ in kinds].count(True) == 3, "a key picture each eight"
