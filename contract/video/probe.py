"""Container -> what is in it and an index of its packets, or a typed refusal. Nothing is decoded."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from statistics import median
from typing import Any

import av
import av.error
from av.stream import Discard

from contract.errors import (
    CorruptMedia,
    EmptyMedia,
    FrameTooLarge,
    NoFrames,
    NoVideoStream,
    Stopped,
    TruncatedMedia,
    UnsupportedMedia,
    VideoTooLong,
)
from contract.video.envelope import looks_like_media, missing_share, names_encryption
from contract.video.limits import DecodeLimits
from contract.video.source import Source, ffmpeg_address, size_of

# Only formats that are self-contained files. Playlists and scripts (HLS, DASH, concat, SDP) name other
# files and addresses, so a hostile upload could make the decoder read them. Audio formats are listed in
# order to answer "no video stream" instead of "unsupported".
_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,gif,ogg,asf,ivf,h264,hevc,m4v,obu,"
    "mp3,wav,aac,flac,amr,ac3,eac3"
)
_NO_DECODERS = {"codec_whitelist": "none"}
"""Opening a file decodes its first picture, only to learn the pixel format: up to 40 ms for 1080p."""
_ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC: cover art, not a video
_PROMISE_KEPT = 0.9
"""A file that holds less than this share of the pictures or seconds it declares counts as truncated."""
_MAX_INFLATION = 2
_INFLATION_FLOOR = 1 << 20
"""Packets may hold so many times the file's bytes, and so many more: headers that demuxers put back. An index
that names the same bytes again and again would fill the memory from a small file."""


@dataclass(frozen=True)
class VideoProbe:
    """The container's facts about its video stream.

    Attributes:
        container: the demuxer's name.
        codec: the codec's name, whichever decoder reads it.
        width, height: of the coded picture, in pixels, before rotation.
        times_s: when each picture appears, ascending, relative to the first; empty if the container has no
            timestamps.
        end_s: when the last picture disappears.
        packets: how many packets the video stream has.
        indexed: whether every picture has a timestamp of its own, so that single pictures can be picked.
    """

    container: str
    codec: str
    width: int
    height: int
    times_s: tuple[float, ...]
    end_s: float
    packets: int
    indexed: bool


@dataclass(frozen=True)
class PacketIndex:
    """A probe together with the demuxed packets it was made from (compressed bytes, in decode order)."""

    probe: VideoProbe
    packets: list[Any]
    pts: tuple[int, ...]
    time_base: Fraction


def never() -> bool:
    """For whoever does not want to stop the work."""
    return False


@contextmanager
def open_container(source: Source, *, decoders: bool = True) -> Iterator[Any]:
    """The opened container.

    Args:
        source: of a regular file.
        decoders: whether its streams may be decoded; without, it opens in less than a millisecond.

    Raises:
        EmptyMedia, UnsupportedMedia, CorruptMedia: it cannot be opened.
    """
    if size_of(source) == 0:
        raise EmptyMedia("the video is empty: send the file's bytes")
    address, options = ffmpeg_address(source)
    try:
        options |= {"format_whitelist": _DEMUXERS} | ({} if decoders else _NO_DECODERS)
        container = av.open(address, options=options, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError):
        if names_encryption(source):
            raise _encrypted() from None
        if looks_like_media(source):
            raise CorruptMedia("the container's index is missing or damaged: send the whole file") from None
        raise UnsupportedMedia(
            "not a video container this service reads: send MP4, MOV, MKV, WebM, AVI, MPEG-TS, FLV, OGG or GIF"
        ) from None
    try:
        yield container
    finally:
        container.close()


def video_stream(container: Any) -> Any:
    """The first real video stream.

    Raises:
        NoVideoStream: audio, data or cover art only.
        UnsupportedMedia: there is no decoder for it.
    """
    for stream in container.streams.video:
        if not int(stream.disposition) & _ATTACHED_PICTURE:
            if stream.codec_context is None:
                raise UnsupportedMedia(
                    "the video's codec is not one this service decodes: send H.264, HEVC, VP9 or AV1"
                )
            return stream
    raise NoVideoStream("the file has no video stream: send a video, or the text alone")


def packets_of(container: Any, stream: Any) -> Iterator[Any]:
    """The stream's packets, from where the container stands. Raises what the demuxer raises."""
    while True:
        try:
            yield from container.demux(stream)
            return
        except IndexError:
            # A packet of a stream that turned up after the file was opened: PyAV lists streams once, and gives up at
            # such a packet. The next call goes on behind it.
            continue


def probe(source: Source, limits: DecodeLimits) -> VideoProbe:
    """What is in the file, after every check that needs no decoding.

    Raises:
        MediaError: see ``contract.errors``.
    """
    with open_container(source) as container:
        return index_packets(source, container, limits).probe


def index_packets(
    source: Source, container: Any, limits: DecodeLimits, stop: Callable[[], bool] = never
) -> PacketIndex:
    """Demuxes the whole video stream once and checks size, length and completeness.

    Raises:
        FrameTooLarge, VideoTooLong: over the limits.
        NoFrames, TruncatedMedia, CorruptMedia: not what it says it is.
        NoVideoStream, UnsupportedMedia: nothing in it to decode, no decoder for it, or encrypted.
        Stopped: ``stop`` said so.
    """
    stream = video_stream(container)
    context = stream.codec_context
    width, height = int(context.width or 0), int(context.height or 0)
    if width * height > limits.max_frame_pixels:
        raise FrameTooLarge(
            f"pictures of {width}x{height} are over the limit of {limits.max_frame_pixels} pixels: send a smaller one"
        )
    declared_s = declared_seconds(container)
    if declared_s is not None and declared_s > limits.max_duration_s:
        raise _too_long(limits)
    packets, whole = _demux(container, stream, limits, stop)
    shown = [p for p in packets if not p.is_discard]
    if not shown:
        if not whole or (stream.frames or 0) > 0:
            raise TruncatedMedia("the file ends before its first picture: send the whole file")
        raise NoFrames("the video stream holds no pictures")
    if width * height == 0 or stream.time_base is None:
        raise CorruptMedia("the video stream does not say how large its pictures are, or when they are shown")
    pts = sorted({p.pts for p in shown if p.pts is not None})
    indexed = len(pts) == len(shown)
    times_s, end_s = _timeline(pts, shown, stream)
    if end_s > limits.max_duration_s:
        raise _too_long(limits)
    if not whole or _fell_short(len(packets), stream, container, end_s) or missing_share(source) > 1 - _PROMISE_KEPT:
        raise TruncatedMedia("the file ends before the end that it declares: send the whole file")
    summary = VideoProbe(
        container.format.name,
        context.codec.canonical_name,
        width,
        height,
        times_s if indexed else (),
        end_s,
        len(packets),
        indexed,
    )
    return PacketIndex(summary, packets, tuple(pts), Fraction(stream.time_base))


def _demux(container: Any, stream: Any, limits: DecodeLimits, stop: Callable[[], bool]) -> tuple[list[Any], bool]:
    """The stream's packets, and whether the demuxer reached the end without an error.

    Raises:
        VideoTooLong, UnsupportedMedia, CorruptMedia: too many packets, encrypted ones, more bytes than there are.
    """
    if "enc_key_id" in stream.metadata:
        raise _encrypted()
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    packets: list[Any] = []
    held_bytes, most_bytes = 0, _MAX_INFLATION * int(container.size) + _INFLATION_FLOOR
    try:
        for packet in packets_of(container, stream):
            if stop():
                raise stopped()
            if packet.size == 0:
                continue
            if packet.is_corrupt and not packets:
                continue
            if packet.has_sidedata("encryption_info"):
                raise _encrypted()
            packets.append(packet)
            held_bytes += packet.size
            if len(packets) > limits.max_packets:
                raise _too_long(limits)
            if held_bytes > most_bytes:
                raise CorruptMedia("the container's index names the same bytes again and again: send an undamaged file")
    except (av.error.FFmpegError, OSError):
        return packets, False
    return packets, True


def _timeline(pts: list[int], shown: list[Any], stream: Any) -> tuple[tuple[float, ...], float]:
    """Picture starts relative to the first, and the end of the last, in seconds."""
    base = float(stream.time_base)
    if not pts:
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        return (), len(shown) / rate
    times = tuple((p - pts[0]) * base for p in pts)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    last_duration = max(0, next((p.duration for p in shown if p.pts == pts[-1]), 0) or 0)
    last = last_duration * base or (median(gaps) if gaps else 1 / float(stream.average_rate or 25))
    return times, times[-1] + last


def declared_seconds(container: Any) -> float | None:
    """The container's own duration, None where it states none or the demuxer merely guesses."""
    if container.duration is None or container.format.name in {
        "mpegts",
        "mpeg",
        "h264",
        "hevc",
        "m4v",
        "obu",
        "mpegvideo",
    }:
        return None
    return float(container.duration) / av.time_base


def _fell_short(packets: int, stream: Any, container: Any, end_s: float) -> bool:
    """Whether the header promises more pictures (MP4, AVI) or seconds (Matroska) than the file holds."""
    name = container.format.name
    if name.startswith("matroska"):
        declared_s = declared_seconds(container) if len(container.streams) == 1 else None
        return declared_s is not None and end_s < _PROMISE_KEPT * declared_s and declared_s - end_s > 1.0
    if not name.startswith(("mov", "avi")):
        return False
    promised = stream.frames or 0
    if name.startswith("mov"):
        # An edit list may show a part only; the demuxer then drops the other samples from its own index.
        promised = min(promised, len(stream.index_entries))
    return bool(packets < _PROMISE_KEPT * promised)


def _encrypted() -> UnsupportedMedia:
    return UnsupportedMedia("the video is encrypted: send it without digital rights management")


def stopped() -> Stopped:
    return Stopped("nobody waits for this video any more")


def _too_long(limits: DecodeLimits) -> VideoTooLong:
    return VideoTooLong(f"the video is over the limit of {limits.max_duration_s:g} s or {limits.max_packets} pictures")
