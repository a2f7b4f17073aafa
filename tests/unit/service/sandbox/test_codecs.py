"""A confined worker decodes what an unconfined process decodes: nothing is loaded, opened or started too late."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from contract.errors import InputError
from contract.video import Backend, DecodeLimits, Frames, decode
from tests.unit.contract.clips import cut, numbered, write_numbered
from tests.unit.service.sandbox.workers import SPEC, decoded

KINDS = [
    ("libx264", "mp4", "yuv420p"),
    ("libx264", "mkv", "yuv444p"),
    ("libx264", "mov", "yuv420p10le"),
    ("libx264", "ts", "yuv420p"),
    ("libx264", "flv", "yuv420p"),
    ("libx265", "mp4", "yuv420p"),
    ("libx265", "mkv", "yuv420p10le"),
    ("libsvtav1", "mp4", "yuv420p"),
    ("libsvtav1", "webm", "yuv420p10le"),
    ("libvpx", "webm", "yuv420p"),
    ("libvpx-vp9", "webm", "yuv420p"),
    ("libvpx-vp9", "mp4", "yuv444p"),
    ("mpeg4", "mp4", "yuv420p"),
    ("mpeg4", "avi", "yuv420p"),
    ("msmpeg4", "avi", "yuv420p"),
    ("mpeg1video", "mpg", "yuv420p"),
    ("mpeg2video", "ts", "yuv422p"),
    ("mjpeg", "mov", "yuvj420p"),
    ("mjpeg", "avi", "yuvj444p"),
    ("prores_ks", "mov", "yuv422p10le"),
    ("ffv1", "mkv", "yuv420p"),
    ("huffyuv", "avi", "yuv422p"),
    ("utvideo", "avi", "gbrp"),
    ("qtrle", "mov", "rgb24"),
    ("rawvideo", "avi", "yuv420p"),
    ("png", "mov", "rgb24"),
    ("cinepak", "avi", "rgb24"),
    ("flv", "flv", "yuv420p"),
    ("wmv2", "asf", "yuv420p"),
    ("gif", "gif", "rgb8"),
    ("jpeg2000", "mkv", "yuv420p"),
    ("snow", "avi", "yuv420p"),
]
SUBTITLES = b"""[V4+ Styles]\r
Format: Name, Fontname, Fontsize\r
Style: Default,Arial,16\r
[Events]\r
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r
"""
QUIET = {"libx265": {"x265-params": "log-level=none"}, "libsvtav1": {"svtav1-params": "lp=1", "preset": "12"}}


@pytest.fixture(autouse=True)
def ordinary_scheduling() -> Iterator[None]:
    """Run by root, SVT-AV1's encoder makes the thread that calls it a real-time one, for good. All that it starts would
    inherit that, and a worker that spins would leave the cores to nobody."""
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def made(folder: Path, codec: str, suffix: str, pixel_format: str) -> Path | None:
    """A clip of ten pictures; None where this build of FFmpeg has no such encoder."""
    path = folder / f"{codec}-{pixel_format}.{suffix}"
    try:
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=Fraction(25), options=QUIET.get(codec, {}))
            stream.width, stream.height, stream.pix_fmt = 128, 64, pixel_format
            for i in range(10):
                frame = av.VideoFrame.from_ndarray(numbered(i), format="rgb24")
                container.mux(stream.encode(frame.reformat(format=pixel_format)))
            container.mux(stream.encode(None))
    except (av.error.FFmpegError, ValueError):
        return None
    return path


def with_other_streams(path: Path) -> Path:
    """A clip beside sound, subtitles and an attached file."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 128, 64, "yuv420p"
        sound = container.add_stream("aac", rate=16_000)
        words = container.add_stream("srt")
        words.codec_context.subtitle_header = SUBTITLES
        container.add_attachment("note.txt", "text/plain", b"attached")
        container.start_encoding()
        said = av.Packet(b"said")
        said.stream, said.pts, said.dts, said.duration, said.time_base = words, 0, 0, 200, Fraction(1, 1000)
        container.mux(said)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux([*sound.encode(frame), *sound.encode(None)])
        for i in range(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(numbered(i), format="rgb24")))
        container.mux(video.encode(None))
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("codecs")
    found = [path for kind in KINDS if (path := made(folder, *kind)) is not None]
    found.append(write_numbered(folder / "turned.mp4", rotation=90))
    found.append(write_numbered(folder / "fields.mp4", options={"flags": "+ildct+ilme"}))
    found.append(cut(write_numbered(folder / "cut.mp4"), 0.5))
    found.append(write_numbered(folder / "many.mp4", pictures=200, gop=50))
    found.append(with_other_streams(folder / "streams.mkv"))
    (folder / "words.mp4").write_text("no video at all")
    return [*found, folder / "words.mp4"]


def check(clips: list[Path], limits: DecodeLimits) -> set[str]:
    """Every clip comes out of a worker as it does here; returns the codecs that were decoded."""
    seen: set[str] = set()
    answers = decoded(clips, {"limits": limits.model_dump(mode="json"), "wall_seconds": 60})
    for clip, (answer, pixels) in zip(clips, answers, strict=True):
        expected = here(clip, limits)
        assert answer.pop("cpu_s") >= 0
        if isinstance(expected, InputError):
            assert (clip.name, answer) == (clip.name, {"refused": expected.code, "detail": expected.detail})
            continue
        assert (clip.name, answer.get("times_ms")) == (clip.name, list(expected.times_ms)), answer
        np.testing.assert_array_equal(pixels, expected.pixels, err_msg=clip.name)
        seen.add(expected.probe.codec)
    return seen


def here(clip: Path, limits: DecodeLimits) -> Frames | InputError:
    try:
        return decode(clip, SPEC, limits)
    except InputError as error:
        return error


def test_every_codec_decodes_behind_the_filter(clips: list[Path]) -> None:
    seen = check(clips, DecodeLimits())
    assert {"h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mjpeg", "gif"} <= seen
    assert len(seen) >= 20


def test_decoders_may_start_threads(clips: list[Path]) -> None:
    assert len(check(clips, DecodeLimits(decoder_threads=4))) >= 20


def test_decord_decodes_behind_the_filter(clips: list[Path]) -> None:
    pytest.importorskip("decord")
    assert {"h264", "hevc", "mpeg4"} <= check(clips, DecodeLimits(backend=Backend.DECORD))
