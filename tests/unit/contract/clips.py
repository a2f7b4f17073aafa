"""Generated clips whose every picture carries its own number, and ways to damage a file.

The number is drawn as eight bars, black or white: it survives lossy encoding and resizing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from contract.input_spec import InputSpec
from contract.video.sampling import on_screen, target_times

WIDTH, HEIGHT, BARS = 128, 64, 8
TICKS = 1000
"""Timestamps are written in ms."""
_TS_BYTES, _TS_VIDEO = 188, 0x100
"""A packet of a transport stream, and the one video stream that FFmpeg writes into it."""


def numbered(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: bars that spell ``number`` (0 to 255), over a faint moving pattern."""
    width, height = size
    bits = np.asarray([255 if number >> bit & 1 else 0 for bit in range(BARS)], np.uint8)
    row = np.repeat(bits, width // BARS)
    picture = np.repeat(np.tile(row, (height, 1))[..., None], 3, axis=2)
    picture[: height // 4] = (np.arange(width) * 2 + number * 5)[None, :, None] % 120
    return picture


def read_number(picture: NDArray[np.uint8]) -> int:
    """The number that a picture (at any size) carries."""
    height, width = picture.shape[:2]
    bar = width / BARS
    low, high = int(height * 0.5), int(height * 0.9)
    lit = [picture[low:high, int((i + 0.35) * bar) : int((i + 0.65) * bar) + 1].mean() > 127 for i in range(BARS)]
    return sum(1 << i for i, on in enumerate(lit) if on)


def write_numbered(
    path: Path,
    pictures: int = 30,
    *,
    gop: int = 10,
    b_frames: int = 2,
    times_ms: Sequence[int] | None = None,
    codec: str = "libx264",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    rotation: int | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """``path``, now a clip of ``pictures`` numbered from 0, by default one each 40 ms."""
    times = times_ms or [40 * i for i in range(pictures)]
    with av.open(str(path), "w", options=container_options or {}) as container:
        extra = {"bf": str(b_frames)} if codec in ("libx264", "mpeg4") else {}
        stream = container.add_stream(codec, rate=25, options={"g": str(gop), **extra, **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number, time_ms in zip(range(pictures), times, strict=True):
            frame = av.VideoFrame.from_ndarray(numbered(number, size), format="rgb24")
            if codec == "libx264":
                frame.pts, frame.time_base = time_ms, Fraction(1, TICKS)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def expected_numbers(times_s: Sequence[float], end_s: float, spec: InputSpec) -> list[int]:
    """Which pictures ``spec`` asks for of a clip whose picture i appears at ``times_s[i]``."""
    return on_screen(times_s, target_times(0.0, end_s, spec))


def sequential(path: Path) -> list[tuple[float, NDArray[np.uint8]]]:
    """The oracle: every picture by plain decoding from the start, with its time in s from the first."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = sorted(container.decode(stream), key=lambda f: f.pts)
        base = frames[0].pts
        return [(float((f.pts - base) * stream.time_base), f.to_ndarray(format="rgb24")) for f in frames]


def raw_h264(pictures: int, size: tuple[int, int], first: int = 0, gop: int = 5) -> bytes:
    """An H.264 elementary stream, its parameter sets in the stream itself."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height = size
    context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 25)
    context.options = {"g": str(gop), "preset": "ultrafast"}
    packets = []
    for i in range(pictures):
        frame = av.VideoFrame.from_ndarray(numbered(first + i, size), format="rgb24")
        frame.pts = i
        packets += context.encode(frame)
    return b"".join(bytes(packet) for packet in [*packets, *context.encode(None)])


def without_slices(raw: bytes, first: int, last: int) -> bytes:
    """The elementary stream, the data of its pictures ``first`` to ``last`` overwritten: none of them decodes."""
    start, picture = b"\x00\x00\x01", -1
    units = raw.split(start)
    for at, unit in enumerate(units):
        if at and unit[0] & 0x1F in (1, 5):
            picture += unit[1] >> 7  # a slice that begins with block 0 begins a picture
            if first <= picture <= last:
                units[at] = unit[:1] + b"\xff" * (len(unit) - 1)
    return start.join(units)


def wrapped_h264(path: Path, raw: bytes, *, last_ms: int = 40) -> Path:
    """``path``, now a container around an elementary stream; its header tells of the first pictures only.

    Args:
        path: its suffix names the container.
        raw: the stream.
        last_ms: how long the last picture is shown; each of the others 40 ms.
    """
    source = path.with_suffix(".h264")
    source.write_bytes(raw)
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        packets = [packet for packet in read.demux(video=0) if packet.size]
        for i, packet in enumerate(packets):
            packet.pts, packet.dts = 40 * i, 40 * i
            packet.duration = 40 if i + 1 < len(packets) else last_ms
            packet.time_base, packet.stream = Fraction(1, TICKS), stream
            written.mux(packet)
    return path


def write_song_with_cover(path: Path) -> Path:
    """``path``, now an .mp4 of a tone and a cover picture."""
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        sound = container.add_stream("aac", rate=16_000)
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        tone.sample_rate = 16_000
        for stream, frame in ((cover, picture), (sound, tone)):
            container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def write_damaged_ts(path: Path, damaged: int) -> Path:
    """``path``, now a transport stream of 30 pictures, each on its own; of one of them the end was lost on the way."""
    write_numbered(path, 30, gop=1, b_frames=0, codec="mpeg2video", options={"b": "8M"})
    data = path.read_bytes()
    packets = [data[at : at + _TS_BYTES] for at in range(0, len(data), _TS_BYTES)]
    video = [i for i, packet in enumerate(packets) if (packet[1] & 0x1F) << 8 | packet[2] == _TS_VIDEO]
    starts = [i for i in video if packets[i][1] & 0x40]
    lost = next(i for i in video if i > starts[damaged])
    assert lost not in starts, "a picture in one packet has no end to lose"
    path.write_bytes(b"".join(packet for i, packet in enumerate(packets) if i != lost))
    return path


def write_encrypted_matroska(path: Path) -> Path:
    """``path``, now an .mkv whose track says that its packets are encrypted, with which key, and nothing else."""

    def element(name: bytes, body: bytes) -> bytes:
        return name + bytes([0x80 | len(body)]) + body

    key = element(b"\x47\xe1", b"\x05") + element(b"\x47\xe2", b"key-0001")
    encoding = element(b"\x50\x33", b"\x01") + element(b"\x50\x35", key)
    encodings = element(b"\x6d\x80", element(b"\x62\x40", encoding))
    # A name of the same length is written in its place first, so that no size around it changes.
    name = "n" * (len(encodings) - 3)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.metadata["title"] = name
        for i in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(i), format="rgb24")))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    named = element(b"\x53\x6e", name.encode())
    assert data.count(named) == 1
    path.write_bytes(data.replace(named, encodings))
    return path


def cut(path: Path, share: float) -> Path:
    """The file, now only the first ``share`` of its bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def edit_box(path: Path, kind: bytes, change: Callable[[bytes], bytes]) -> Path:
    """The MP4, the body of its first ``kind`` box replaced by one of the same length."""
    data = bytearray(path.read_bytes())
    at = data.index(kind) + 4
    length = struct.unpack(">I", data[at - 8 : at - 4])[0] - 8
    body = change(bytes(data[at : at + length]))
    assert len(body) == length
    data[at : at + length] = body
    path.write_bytes(data)
    return path
