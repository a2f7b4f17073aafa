"""Writes clips: moving pictures in four codecs, and files that a service must refuse in words."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np


class Codec(NamedTuple):
    """FFmpeg's encoder, the container, the encoder's options, and the weight of such a clip among all that are sent."""

    encoder: str
    container: str
    options: dict[str, str]
    weight: float


_X265 = {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"}
CODECS = {
    "h264": Codec("libx264", "mp4", {"preset": "veryfast", "g": "50"}, 4.0),
    "hevc": Codec("libx265", "mp4", _X265, 1.0),
    "vp9": Codec("libvpx-vp9", "webm", {"deadline": "realtime", "cpu-used": "8"}, 1.0),
    "mpeg4": Codec("mpeg4", "mp4", {}, 0.5),
}


def available_codecs() -> list[str]:
    """Those of ``CODECS`` that this build of PyAV can encode."""
    found = []
    for name, codec in CODECS.items():
        try:
            av.codec.Codec(codec.encoder, "w")
        except av.FFmpegError:
            continue
        found.append(name)
    return found


def write_clip(
    path: Path, codec: str, *, seconds: float, width: int, height: int, fps: int = 25, seed: int = 0
) -> None:
    """Writes a clip of drifting texture with some noise, so that it costs about what footage costs.

    Args:
        path: where to; the container is the codec's of ``CODECS``.
        codec: a name of ``CODECS``.
        seconds: its length.
        width, height: even numbers of pixels.
        fps: pictures a second.
        seed: other seeds, other pictures.
    """
    encoder, container_format, options, _ = CODECS[codec]
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 256, (height // 8 + 1, width // 4 + 1, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(encoder, rate=Fraction(fps), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(max(2, round(seconds * fps))):
            left = 2 * i % width
            picture = texture[:height, left : left + width].astype(np.int16)
            picture = picture + rng.integers(-8, 9, picture.shape, np.int16)
            frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_audio_only(path: Path, *, seconds: float = 2.0) -> None:
    """Writes an MP4 that holds a tone and no picture."""
    rate = 16_000
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=rate)
        samples = np.sin(np.arange(int(rate * seconds)) * 0.05).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def write_truncated(path: Path, whole: Path, *, share: float = 0.5) -> None:
    """Writes the first ``share`` of the bytes of ``whole``: an MP4 loses its index, and all of its pictures."""
    data = whole.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def write_garbage(path: Path, *, size: int = 50_000, seed: int = 0) -> None:
    """Writes ``size`` random bytes."""
    path.write_bytes(np.random.default_rng(seed).bytes(size))
