"""What a decode will cost, told without a decoder; and that a decode nobody wants ends between two packets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.errors import DecodeBudget, EmptyMedia, FrameTooLarge, NoVideoStream, Stopped, UnsupportedMedia
from contract.errors import VideoTooLong as TooLong
from contract.input_spec import BurstSpec, InputSpec
from contract.video import Backend, DecodeLimits, decode, decode_cost, pyav_backend
from contract.video.probe import index_packets, open_container, packets_of
from contract.video.pyav_backend import plan_segments
from contract.video.sampling import on_screen, target_times
from tests.synthetic_bundle import write_audio_only
from tests.unit.contract.clips import write_numbered

SPEC = InputSpec(frames=8, frame_size=64)


BURSTS = InputSpec(frames=8, frame_size=64, sampling="bursts", burst=BurstSpec(moments=2, pictures=4, step_ms=80))


def planned(path: Path, spec: InputSpec = SPEC) -> int:
    """Packets that the decode itself plans to feed."""
    with open_container(path) as container:
        index = index_packets(path, container, DecodeLimits())
        wanted = on_screen(index.probe.times_s, target_times(0.0, index.probe.end_s, spec))
        return sum(stop - start for start, stop in plan_segments(index, [index.pts[i] for i in wanted]))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
@pytest.mark.parametrize("gop", [4, 12, 250])
def test_the_cost_is_about_what_the_decode_plans(tmp_path: Path, suffix: str, gop: int) -> None:
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    path = write_numbered(tmp_path / f"clip{suffix}", 60, gop=gop, b_frames=0 if suffix == ".avi" else 2, codec=codec)
    cost = decode_cost(path, SPEC, DecodeLimits())
    assert cost is not None
    assert (cost.width, cost.height, cost.packets, cost.pictures) == (128, 64, 60, 8)
    assert cost.codec == ("mpeg4" if suffix == ".avi" else "h264")
    # The index is in decode order, the plan in order of display: they differ by the reordering of a few pictures.
    assert abs(cost.fed - planned(path)) <= 8 * 2
    assert 0 < cost.fed_bytes <= path.stat().st_size


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_bursts_cost_their_own_neighbourhoods_only(tmp_path: Path, suffix: str) -> None:
    path = write_numbered(tmp_path / f"clip{suffix}", 60, gop=4)
    cost = decode_cost(path, BURSTS, DecodeLimits())
    assert cost is not None
    assert abs(cost.fed - planned(path, BURSTS)) <= 4
    everywhere = decode_cost(path, SPEC, DecodeLimits())
    assert everywhere is not None
    assert cost.fed < everywhere.fed


def test_more_frequent_key_pictures_cost_less(tmp_path: Path) -> None:
    costs = [decode_cost(write_numbered(tmp_path / f"{g}.mp4", 80, gop=g), SPEC, DecodeLimits()) for g in (5, 250)]
    assert costs[0] is not None
    assert costs[1] is not None
    assert costs[0].fed < 0.6 * costs[1].fed


def test_decord_goes_through_everything_before_the_last_wanted_picture(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "clip.mp4", 80, gop=5)
    cost = decode_cost(path, SPEC, DecodeLimits(backend=Backend.DECORD))
    assert cost is not None
    assert cost.fed > 70


def test_no_decoder_runs(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "clip.mp4", 10)
    for decoders, known in ((True, True), (False, False)):
        with open_container(path, decoders=decoders) as container:
            # Only a decoder that was run on the first picture knows the pixel format.
            assert (container.streams.video[0].codec_context.pix_fmt is not None) is known


def test_what_the_decode_would_refuse_by_its_header_is_refused(tmp_path: Path) -> None:
    clip = write_numbered(tmp_path / "clip.mp4", 30)
    (tmp_path / "garbage.mp4").write_bytes(b"x" * 4096)
    (tmp_path / "empty.mp4").write_bytes(b"")
    cases: list[tuple[str, DecodeLimits, type[Exception]]] = [
        ("clip.mp4", DecodeLimits(max_frame_pixels=100), FrameTooLarge),
        ("clip.mp4", DecodeLimits(max_duration_s=0.5), TooLong),
        ("garbage.mp4", DecodeLimits(), UnsupportedMedia),
        ("empty.mp4", DecodeLimits(), EmptyMedia),
        (write_audio_only(tmp_path / "audio.mp4").name, DecodeLimits(), NoVideoStream),
    ]
    for name, limits, expected in cases:
        for look in (decode_cost, decode):
            with pytest.raises(expected):
                look(tmp_path / name, SPEC, limits)
    assert decode_cost(clip, SPEC, DecodeLimits()) is not None


def asked_until(calls: int) -> Callable[[], bool]:
    left = [calls]

    def stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    return stop


@pytest.mark.parametrize("backend", [Backend.PYAV, Backend.DECORD])
def test_a_decode_that_nobody_wants_ends_between_two_packets(tmp_path: Path, backend: Backend) -> None:
    path = write_numbered(tmp_path / "clip.mp4", 60, gop=250)
    limits = DecodeLimits(backend=backend)
    for calls in (0, 5, 70):  # at the first packet, while the index is made, while pictures are decoded
        with pytest.raises(Stopped):
            decode(path, SPEC, limits, stop=asked_until(calls))
    assert decode(path, SPEC, limits).pixels.any()


def test_a_look_at_the_cost_can_be_stopped_too(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "clip.ts", 60)
    with pytest.raises(Stopped):
        decode_cost(path, SPEC, DecodeLimits(), stop=asked_until(5))


def test_a_second_attempt_does_not_get_a_second_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_numbered(tmp_path / "clip.mp4", 40, gop=40)
    pick = pyav_backend.pick

    def picks_in_vain(*arguments: Any) -> dict[int, np.ndarray[Any, Any]]:
        pick(*arguments)
        return {}

    monkeypatch.setattr(pyav_backend, "pick", picks_in_vain)
    once = 128 * 64 * 42
    assert decode(path, SPEC, DecodeLimits(max_decode_pixels=2 * once)).pixels.any()
    with pytest.raises(DecodeBudget):
        decode(path, SPEC, DecodeLimits(max_decode_pixels=once))


def test_a_container_that_says_nothing_has_no_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_numbered(tmp_path / "clip.mkv", 10)
    monkeypatch.setattr("contract.video.cost._entries", lambda *_: [])
    assert decode_cost(path, SPEC, DecodeLimits()) is None


def test_an_index_of_impossible_sizes_costs_no_less_than_nothing(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "clip.mp4", 30, gop=10)
    data = bytearray(path.read_bytes())
    sizes = data.index(b"stsz") + 16  # type, version, common size, count; then each packet's, kept in 30 signed bits
    data[sizes : sizes + 8] = b"\x20\x00\x00\x00" * 2
    path.write_bytes(data)
    cost = decode_cost(path, SPEC, DecodeLimits())
    assert cost is not None
    assert cost.fed_bytes >= 0


def test_a_stream_that_turns_up_late_is_passed_over() -> None:
    """PyAV lists streams when it opens a file, and raises at a packet of one that the demuxer found later."""

    class Late:
        def __init__(self) -> None:
            self.left = iter([1, 2, IndexError("list index out of range"), 3, IndexError("again"), 4])

        def demux(self, stream: object) -> Iterator[int]:
            for packet in self.left:
                if isinstance(packet, IndexError):
                    raise packet
                yield packet

    assert list(packets_of(Late(), None)) == [1, 2, 3, 4]
