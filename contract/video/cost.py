"""What a decode will have to go through, read from the container without running any decoder.

A service asks this first: it can then say no, or when, before it spends the work. It is an estimate: the container's
own index is believed where it has one, and damage or a lying header is found only by the decode itself.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import av.error

from contract.errors import FrameTooLarge, VideoTooLong
from contract.input_spec import InputSpec
from contract.video.limits import Backend, DecodeLimits
from contract.video.probe import declared_seconds, never, open_container, packets_of, stopped, video_stream
from contract.video.sampling import on_screen, target_times
from contract.video.source import Source

_INDEXED_CONTAINERS = ("mov", "avi")
"""Containers whose index names every packet; the others index key pictures at most."""


@dataclass(frozen=True)
class DecodeCost:
    """What reaching the wanted pictures takes.

    Attributes:
        container, codec: names.
        width, height: of the coded picture; 0 where only a decoder could tell.
        packets: of the whole video stream.
        fed: how many of them the decoder must go through.
        fed_bytes: their compressed size.
        pictures: how many are converted to RGB and resized.
    """

    container: str
    codec: str
    width: int
    height: int
    packets: int
    fed: int
    fed_bytes: int
    pictures: int


@dataclass(frozen=True)
class _Entry:
    """A packet as the index or the demuxer names it, in decode order; ``at`` in seconds."""

    at: float
    key: bool
    size: int


def decode_cost(
    source: Source, spec: InputSpec, limits: DecodeLimits, *, stop: Callable[[], bool] = never
) -> DecodeCost | None:
    """What ``decode`` with the same arguments will go through; None where the container does not say.

    Raises:
        EmptyMedia, UnsupportedMedia, CorruptMedia, NoVideoStream: ``decode`` would refuse it for the same reason.
        FrameTooLarge, VideoTooLong: likewise, by the header alone.
        Stopped: ``stop`` said so.
    """
    with open_container(source, decoders=False) as container:
        stream = video_stream(container)
        width, height = int(stream.codec_context.width or 0), int(stream.codec_context.height or 0)
        if width * height > limits.max_frame_pixels:
            raise FrameTooLarge(f"pictures of {width}x{height} are over the limit of {limits.max_frame_pixels} pixels")
        declared_s = declared_seconds(container)
        if declared_s is not None and declared_s > limits.max_duration_s:
            raise VideoTooLong(f"the video is over the limit of {limits.max_duration_s:g} s")
        entries = _entries(container, stream, limits, stop)
        if not entries or width * height == 0:
            return None
        fed = _fed(entries, spec, limits)
        return DecodeCost(
            container.format.name,
            stream.codec_context.codec.canonical_name,
            width,
            height,
            len(entries),
            len(fed),
            sum(entry.size for entry in fed),
            min(spec.frames, len(entries)),
        )


def _entries(container: Any, stream: Any, limits: DecodeLimits, stop: Callable[[], bool]) -> list[_Entry]:
    """The stream's packets in decode order, at most one more than the limit."""
    most, tick_s = limits.max_packets + 1, float(stream.time_base or 1)
    if container.format.name.startswith(_INDEXED_CONTAINERS) and len(stream.index_entries) > 0:
        indexed = itertools.islice(stream.index_entries, most)
        return [_Entry(entry.timestamp * tick_s, bool(entry.is_keyframe), _size(entry)) for entry in indexed]
    found: list[_Entry] = []
    try:
        for packet in packets_of(container, stream):
            if stop():
                raise stopped()
            if packet.size and len(found) < most:
                at = packet.dts if packet.dts is not None else packet.pts
                found.append(_Entry((at or 0) * tick_s, bool(packet.is_keyframe), int(packet.size)))
            if len(found) == most:
                break
    except (av.error.FFmpegError, OSError):
        pass  # the decode will say what is wrong with it; what came so far is what it can go through
    return found


def _size(entry: Any) -> int:
    """Of an indexed packet, in bytes: a damaged index may hold any number."""
    return max(0, int(entry.size))


def _fed(entries: Sequence[_Entry], spec: InputSpec, limits: DecodeLimits) -> list[_Entry]:
    """Those that the decoder goes through: from the key picture before each wanted one, or from the start."""
    times = list(itertools.accumulate((entry.at for entry in entries), max))
    span = (times[-1] - times[0]) or float(len(entries))
    end = times[0] + span * len(entries) / max(1, len(entries) - 1)
    wanted = sorted(set(on_screen(times, target_times(times[0], end, spec))))
    if limits.backend is Backend.DECORD:
        return list(entries[: wanted[-1] + 1])
    keys = [i for i, entry in enumerate(entries) if entry.key]
    fed: list[_Entry] = []
    reached = 0
    for at in wanted:
        behind = bisect_right(keys, at)
        start = max(reached, keys[behind - 1] if behind else 0)
        fed += entries[start : at + 1]
        reached = max(reached, at + 1)
    return fed
