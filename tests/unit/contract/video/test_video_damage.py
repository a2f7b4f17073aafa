"""How much damage a clip may have: where the line stands, to the picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contract.errors import CorruptMedia
from contract.input_spec import InputSpec
from contract.video import DecodeLimits, VideoProbe, decode, probe
from contract.video.probe import PacketIndex, declared_seconds
from contract.video.pyav_backend import Feed, _check_drift
from tests.unit.contract.clips import HEIGHT, WIDTH, raw_h264, wrapped_h264, write_numbered


def index(pictures: int, step_s: float) -> PacketIndex:
    """Of a clip with a picture each ``step_s``."""
    times = tuple(step_s * i for i in range(pictures))
    found = VideoProbe("mp4", "h264", 16, 16, times, step_s * pictures, pictures, True)
    return PacketIndex(found, [], tuple(range(pictures)), Fraction(1))


@pytest.mark.parametrize(
    ("shown", "corrupt"),
    [
        ([0.0, 0.1, 0.2, 0.3], False),
        ([0.0, 0.0, 0.0, 0.1], False),  # up to two pictures beside the one wanted is no miss
        ([0.0, 0.1, 0.2, 0.6], False),  # one of four missed
        ([0.3, 0.4, 0.2, 0.3], False),  # two of four
        ([0.3, 0.4, 0.5, 0.3], True),  # three of four
        ([0.0, 0.1, 0.2, 0.8], False),  # half a second away
        ([0.0, 0.1, 0.2, 0.81], True),
        ([0.0, 0.1, 0.2], True),  # one has no picture at all
    ],
)
def test_how_far_pictures_may_lie_from_those_wanted(shown: list[float], corrupt: bool) -> None:
    arguments: Any = (index(10, 0.1), [0.0, 0.1, 0.2, 0.3], shown, 0.1)
    if not corrupt:
        _check_drift(*arguments)
        return
    with pytest.raises(CorruptMedia):
        _check_drift(*arguments)


def test_pictures_that_stand_long_may_lie_two_of_them_away() -> None:
    _check_drift(index(4, 1.0), [0.0, 1.0, 2.0], [0.0, 1.0, 0.0], 1.0)
    with pytest.raises(CorruptMedia):
        _check_drift(index(4, 1.0), [0.0, 1.0, 2.1], [0.0, 1.0, -0.1], 1.0)


@pytest.mark.parametrize(
    ("fed", "failed", "corrupt"), [(0, 0, False), (10, 0, False), (10, 4, False), (10, 5, True), (1, 1, True)]
)
def test_half_of_the_packets_may_not_fail(fed: int, failed: int, corrupt: bool) -> None:
    feed = object.__new__(Feed)
    feed._fed, feed._failed = fed, failed
    if not corrupt:
        feed.check_damage()
        return
    with pytest.raises(CorruptMedia):
        feed.check_damage()


def test_a_picture_of_just_the_limit_is_read(tmp_path: Path) -> None:
    clip = write_numbered(tmp_path / "a.mp4", 5)
    spec = InputSpec(frames=1, frame_size=16)
    assert decode(clip, spec, DecodeLimits(max_frame_pixels=WIDTH * HEIGHT)).probe.packets == 5


@pytest.mark.parametrize("suffix", [".mkv", ".flv"])
def test_a_last_picture_of_no_stated_length_stands_as_long_as_the_others(tmp_path: Path, suffix: str) -> None:
    clip = wrapped_h264(tmp_path / f"a{suffix}", raw_h264(10, (WIDTH, HEIGHT)), last_ms=0)
    assert probe(clip, DecodeLimits()).end_s == pytest.approx(0.4)


@pytest.mark.parametrize("name", ["mpegts", "mpeg", "h264", "hevc", "m4v", "obu", "mpegvideo"])
def test_a_length_that_a_demuxer_guesses_is_not_believed(name: str) -> None:
    guessed = SimpleNamespace(duration=3_000_000, format=SimpleNamespace(name=name))
    assert declared_seconds(guessed) is None


def test_a_length_that_the_container_states_is() -> None:
    stated = SimpleNamespace(duration=1_500_000, format=SimpleNamespace(name="mov,mp4,m4a,3gp,3g2,mj2"))
    assert declared_seconds(stated) == 1.5
    assert declared_seconds(SimpleNamespace(duration=None, format=stated.format)) is None
