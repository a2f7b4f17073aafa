"""Which pictures come out, and that they are the right ones, through either backend."""

from __future__ import annotations

import random
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from contract.errors import CorruptMedia, DecodeBudget, FrameTooLarge, InputError, UnsupportedMedia
from contract.input_spec import BurstSpec, InputSpec
from contract.video import Backend, DecodeLimits, Frames, VideoProbe, decode
from contract.video.probe import PacketIndex
from contract.video.pyav_backend import plan_segments, resize
from tests.unit.contract.clips import (
    cut,
    expected_numbers,
    numbered,
    raw_h264,
    read_number,
    sequential,
    without_slices,
    wrapped_h264,
    write_damaged_ts,
    write_numbered,
)

SPEC = InputSpec(frames=8, frame_size=64)
PYAV, DECORD = DecodeLimits(), DecodeLimits(backend=Backend.DECORD)


def numbers(frames: Frames) -> list[int]:
    return [read_number(picture) for picture in frames.pixels]


def due(frames: Frames, spec: InputSpec = SPEC) -> list[int]:
    return expected_numbers(frames.probe.times_s, frames.probe.end_s, spec)


CLIPS = {
    "short_gop": {"pictures": 40, "gop": 5},
    "long_gop": {"pictures": 75, "gop": 250, "b_frames": 3},
    "no_b_frames": {"pictures": 30, "gop": 12, "b_frames": 0},
    "open_gop": {"pictures": 60, "gop": 12, "b_frames": 4, "options": {"x264-params": "open-gop=1:b-pyramid=normal"}},
    "intra_refresh": {"pictures": 60, "gop": 15, "b_frames": 0, "options": {"x264-params": "intra-refresh=1"}},
    "uneven_times": {
        "pictures": 12,
        "gop": 6,
        "times_ms": [0, 40, 80, 500, 520, 540, 900, 1500, 1540, 1580, 1700, 3000],
    },
    "fewer_than_asked": {"pictures": 3, "gop": 3},
    "one_picture": {"pictures": 1, "b_frames": 0},
}


@pytest.mark.parametrize("backend", [Backend.PYAV, Backend.DECORD])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("kind", sorted(CLIPS))
def test_each_backend_gives_the_pictures_of_plain_sequential_decoding(
    tmp_path: Path, kind: str, suffix: str, backend: Backend
) -> None:
    if backend is Backend.DECORD:
        pytest.importorskip("decord")
    clip = write_numbered(tmp_path / f"a{suffix}", **CLIPS[kind])  # type: ignore[arg-type]
    frames = decode(clip, SPEC, DecodeLimits(backend=backend))
    wanted = due(frames)
    assert numbers(frames) == wanted
    oracle = sequential(clip)
    for picture, time_ms, i in zip(frames.pixels, frames.times_ms, wanted, strict=True):
        assert time_ms == pytest.approx(oracle[i][0] * 1000, abs=0.01)
        expected = resize(oracle[i][1], SPEC.frame_size, SPEC.interpolation)
        assert np.abs(picture.astype(int) - expected).mean() < 0.5


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mpeg4"), (".avi", "mpeg4"), (".webm", "libvpx-vp9")])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_other_codecs_and_containers(tmp_path: Path, suffix: str, codec: str, b_frames: int) -> None:
    clip = write_numbered(tmp_path / f"a{suffix}", 30, codec=codec, b_frames=b_frames, options={"b": "4M"})
    frames = decode(clip, SPEC, PYAV)
    assert numbers(frames) == [1, 5, 9, 13, 16, 20, 24, 28]


def test_a_transport_stream(tmp_path: Path) -> None:
    frames = decode(write_numbered(tmp_path / "a.ts", 60, gop=12), SPEC, PYAV)
    assert numbers(frames) == due(frames)


def test_an_elementary_stream_without_timestamps_is_read_in_equal_steps(tmp_path: Path) -> None:
    path = tmp_path / "a.h264"
    path.write_bytes(raw_h264(40, (128, 64)))
    frames = decode(path, SPEC, PYAV)
    assert all(abs(number - wanted) <= 1 for number, wanted in zip(numbers(frames), range(2, 40, 5), strict=True))


def test_threads_do_not_change_the_pictures(tmp_path: Path) -> None:
    clip = write_numbered(tmp_path / "a.mp4", 75, gop=25, b_frames=3)
    one, four = (decode(clip, SPEC, DecodeLimits(decoder_threads=n)) for n in (1, 4))
    np.testing.assert_array_equal(one.pixels, four.pixels)


@pytest.mark.parametrize("backend", [Backend.PYAV, Backend.DECORD])
@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_rotated_clip_comes_out_upright(tmp_path: Path, rotation: int, backend: Backend) -> None:
    if backend is Backend.DECORD:
        pytest.importorskip("decord")
    clip = write_numbered(tmp_path / "a.mp4", 8, rotation=rotation, b_frames=0)
    plain = write_numbered(tmp_path / "b.mp4", 8, b_frames=0)
    turned = decode(clip, SPEC, DecodeLimits(backend=backend)).pixels
    # The matrix turns counterclockwise, so the picture shown is the stored one turned that way.
    stored = sequential(plain)
    for i, picture in enumerate(turned):
        expected = resize(np.rot90(stored[i][1], rotation // 90), SPEC.frame_size, SPEC.interpolation)
        assert np.abs(picture.astype(int) - expected).mean() < 1.0


def test_a_window_samples_its_own_span_only(tmp_path: Path) -> None:
    clip = write_numbered(tmp_path / "a.mp4", 50, gop=10)
    frames = decode(clip, SPEC, PYAV, window_ms=(800.0, 1120.0))
    assert numbers(frames) == list(range(20, 28))


@pytest.mark.parametrize("backend", list(Backend))
@pytest.mark.parametrize("pictures", [8, 100])
def test_bursts_come_out_burst_after_burst_also_where_they_overlap(
    tmp_path: Path, pictures: int, backend: Backend
) -> None:
    if backend is Backend.DECORD:
        pytest.importorskip("decord")
    burst = BurstSpec(moments=4, pictures=3, step_ms=80)
    spec = InputSpec(frames=12, frame_size=64, sampling="bursts", burst=burst)
    frames = decode(write_numbered(tmp_path / "clip.mp4", pictures=pictures), spec, DecodeLimits(backend=backend))
    assert numbers(frames) == due(frames, spec)
    assert [round(time_ms / 40) for time_ms in frames.times_ms] == numbers(frames)
    assert (sorted(frames.times_ms) != list(frames.times_ms)) == (pictures == 8)


@pytest.mark.parametrize("window", [(5000.0, 6000.0), (300.0, 300.0), (-1.0, 100.0), (float("nan"), 100.0)])
def test_an_empty_window_is_the_callers_fault(tmp_path: Path, window: tuple[float, float]) -> None:
    clip = write_numbered(tmp_path / "a.mp4", 10)
    with pytest.raises(ValueError, match="window"):
        decode(clip, SPEC, PYAV, window_ms=window)


def test_pixels_are_written_where_the_caller_says(tmp_path: Path) -> None:
    slot = np.zeros(SPEC.frames_shape, np.uint8)
    frames = decode(write_numbered(tmp_path / "a.mp4", 10), SPEC, PYAV, out=slot)
    assert frames.pixels is slot
    assert slot.any()
    with pytest.raises(ValueError, match="out must be"):
        decode(tmp_path / "a.mp4", SPEC, PYAV, out=slot[:2])


@pytest.mark.parametrize("suffix", [".h264", ".mkv", ".mp4", ".ts"])
def test_pictures_larger_than_the_header_said_are_not_decoded(tmp_path: Path, suffix: str) -> None:
    raw = raw_h264(10, (128, 64)) + raw_h264(10, (1280, 720), first=10)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(raw) if suffix == ".h264" else wrapped_h264(path, raw)
    limits = DecodeLimits(max_frame_pixels=640 * 360)
    # The decoder itself refuses to make room for them; had it made one, FrameTooLarge would tell.
    with pytest.raises(CorruptMedia):
        decode(path, SPEC, limits)
    assert decode(path, SPEC, PYAV).probe.width == 128


def test_a_picture_over_the_limit_that_alignment_lets_through_is_refused(tmp_path: Path) -> None:
    # 120x56 rounds up to 128x128, which has room for 160x64: only a look at the picture can tell.
    path = wrapped_h264(tmp_path / "a.mkv", raw_h264(10, (120, 56)) + raw_h264(10, (160, 64), first=10))
    with pytest.raises(FrameTooLarge):
        decode(path, SPEC, DecodeLimits(max_frame_pixels=120 * 56))


def test_a_picture_before_its_key_picture_is_reached_from_the_key_before() -> None:
    shown = [(0, True), (3, False), (1, False), (2, False), (6, True), (4, False), (5, False), (9, False)]
    packets = [SimpleNamespace(pts=pts, is_keyframe=key, is_discard=False) for pts, key in shown]
    index = PacketIndex(VideoProbe("mp4", "h264", 16, 16, (), 1.0, 8, True), packets, (), Fraction(1))
    assert plan_segments(index, [5]) == [(0, 7)]
    assert plan_segments(index, [6, 9]) == [(4, 8)]
    assert plan_segments(index, [1, 9]) == [(0, 3), (4, 8)]


def test_keys_without_a_timestamp_and_dropped_packets_do_not_confuse_the_plan() -> None:
    fields = [(None, True, True), (5, True, True), (0, True, False), (5, False, False)]
    packets = [SimpleNamespace(pts=p, is_keyframe=k, is_discard=d) for p, k, d in fields]
    index = PacketIndex(VideoProbe("mp4", "h264", 16, 16, (), 1.0, 4, True), packets, (), Fraction(1))
    assert plan_segments(index, [5]) == [(2, 4)]


def test_the_budget_holds_against_the_bitstream_too(tmp_path: Path) -> None:
    path = wrapped_h264(tmp_path / "a.mkv", raw_h264(10, (128, 64)) + raw_h264(10, (1280, 720), first=10))
    # By the header 20 pictures of 128x64 are 163,840 pixels; ten of 1280x720 are over nine million.
    with pytest.raises(DecodeBudget):
        decode(path, SPEC, DecodeLimits(max_decode_pixels=2_000_000))


def test_the_budget_counts_packets_that_give_no_picture(tmp_path: Path) -> None:
    # Nine of ten large pictures do not decode, but the decoder goes through 1280x720 pixels for each of them.
    large = without_slices(raw_h264(10, (1280, 720), first=10, gop=10), 1, 9)
    path = wrapped_h264(tmp_path / "a.mkv", raw_h264(10, (128, 64)) + large)
    with pytest.raises(DecodeBudget):
        decode(path, SPEC, DecodeLimits(max_decode_pixels=5_000_000))


def test_a_size_that_changes_within_the_limits_is_read(tmp_path: Path) -> None:
    path = wrapped_h264(tmp_path / "a.mkv", raw_h264(10, (128, 64)) + raw_h264(10, (256, 128), first=10))
    assert numbers(decode(path, InputSpec(frames=4, frame_size=64), PYAV)) == [2, 7, 12, 17]


def test_a_picture_that_the_decoder_marks_as_damaged_is_not_the_answer(tmp_path: Path) -> None:
    clip = write_damaged_ts(tmp_path / "a.ts", damaged=10)
    alone = InputSpec(frames=1, frame_size=64)
    # Neither picked nor met when reading on: the picture before it is what was last seen whole.
    assert decode(clip, alone, PYAV, window_ms=(400.0, 440.0)).times_ms == (360.0,)
    assert decode(clip, alone, PYAV, window_ms=(440.0, 480.0)).times_ms == (440.0,)


def test_a_picture_that_decodes_after_a_long_gap_does_not_stand_for_the_clip(tmp_path: Path) -> None:
    options = {"lag-in-frames": "0", "auto-alt-ref": "0", "b": "2M"}
    clip = write_numbered(tmp_path / "a.webm", 20, codec="libvpx-vp9", gop=20, b_frames=0, options=options)
    with av.open(str(clip)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = clip.read_bytes()
    for packet in packets[4:18]:
        data = data.replace(packet, b"\xff" * len(packet))
    clip.write_bytes(data)
    # The last picture does decode, from references that are fifteen pictures old.
    with pytest.raises(CorruptMedia):
        decode(clip, InputSpec(frames=1, frame_size=64), PYAV, window_ms=(760.0, 800.0))


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_clip_of_which_most_pictures_do_not_decode_is_corrupt(tmp_path: Path, share: float) -> None:
    clip = write_numbered(tmp_path / "a.mkv", 60, gop=15, b_frames=0)
    data, rng = bytearray(clip.read_bytes()), random.Random(3)
    for at in rng.sample(range(900, len(data) - 400), int(share * (len(data) - 1300))):
        data[at] = rng.randrange(256)
    clip.write_bytes(data)
    with pytest.raises(InputError):
        decode(clip, SPEC, PYAV)


def test_a_clip_whose_wanted_picture_does_not_decode_is_not_answered_with_another(tmp_path: Path) -> None:
    broken = raw_h264(16, (1280, 720), first=20)  # over the limit below, so none of them decodes
    path = wrapped_h264(tmp_path / "a.mkv", raw_h264(20, (128, 64)) + broken + raw_h264(20, (128, 64), first=36))
    limits = DecodeLimits(max_frame_pixels=640 * 360)
    with pytest.raises(CorruptMedia):
        decode(path, InputSpec(frames=1, frame_size=64), limits)
    assert numbers(decode(path, SPEC, limits))[0] == 3


def test_one_damaged_picture_does_not_condemn_a_clip(tmp_path: Path) -> None:
    clip = write_numbered(tmp_path / "a.mp4", 60, gop=6, b_frames=0)
    data = bytearray(clip.read_bytes())
    at = data.index(b"mdat") + 4 + len(data) // 3
    data[at : at + 40] = bytes(40)
    clip.write_bytes(data)
    frames = decode(clip, SPEC, PYAV)
    right = sum(a == b for a, b in zip(numbers(frames), due(frames), strict=True))
    assert right >= 6


def test_decord_refuses_what_it_would_number_otherwise(tmp_path: Path) -> None:
    pytest.importorskip("decord")
    with pytest.raises(UnsupportedMedia):
        decode(write_numbered(tmp_path / "a.ts", 30), SPEC, DECORD)


def test_numbers_survive_the_pipeline_so_that_these_tests_can_fail() -> None:
    assert [read_number(resize(numbered(n), 64, "bicubic")) for n in range(256)] == list(range(256))


_SURVEY = """
import sys
from pathlib import Path
from contract.errors import InputError
from contract.input_spec import BurstSpec, InputSpec
from contract.video import DecodeLimits, decode
spec = InputSpec(frames=4, frame_size=32)
for line in sys.stdin:
    try:
        frames = decode(Path(line.rstrip("\\n")), spec, DecodeLimits())
        assert frames.pixels.shape == spec.frames_shape and len(frames.times_ms) == 4
        outcome = "frames"
    except InputError as error:
        outcome = error.code
        assert "/" not in error.detail and "Error" not in error.detail, error.detail
    print(outcome, flush=True)
"""


@pytest.mark.shared_data
def test_hostile_files_end_in_frames_or_a_typed_refusal(shared_data: Path) -> None:
    files = sorted(p for p in (shared_data / "robustness_media").rglob("*") if p.is_file() and p.suffix != ".csv")
    assert len(files) > 200
    ran = subprocess.run(
        [sys.executable, "-c", _SURVEY],
        input="\n".join(map(str, files)),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[4],
        timeout=200,
        check=False,
    )
    outcomes = ran.stdout.split()
    assert ran.returncode == 0, (files[len(outcomes)].name, ran.returncode, ran.stderr[-300:])
    assert len(outcomes) == len(files)
    assert {"frames", "no_video_stream", "unsupported_media", "corrupt_video", "frame_too_large"} <= set(outcomes)


def test_a_cut_clip_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    clip = write_numbered(tmp_path / "a.mp4", 60, container_options={"movflags": "faststart"})
    with pytest.raises(InputError) as refused:
        decode(cut(clip, 0.7), SPEC, PYAV)
    assert refused.value.code == "truncated_video"
