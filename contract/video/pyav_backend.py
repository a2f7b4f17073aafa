"""Wanted timestamps -> pictures, through PyAV (FFmpeg).

Two ways. *Picking* feeds only the packets from the key picture before each wanted one and lets the decoder
drop unwanted pictures that nothing refers to; on H.264 and HEVC that takes a little over half the time of
reading on (``docs/adr/0003``). *Reading on* decodes everything; it serves streams without usable timestamps and
those where picking did not bring a wanted picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from contract.errors import CorruptMedia, DecodeBudget, UnsupportedMedia
from contract.video.limits import DecodeLimits
from contract.video.probe import PacketIndex, video_stream
from contract.video.sampling import on_screen

_MAX_DRIFT_S = 0.5
"""How far a picture may lie from the one wanted, where that one does not decode, before the clip counts as corrupt."""

Segment = tuple[int, int]
"""Packets [start, stop) in decode order, fed after a flush."""


def plan_segments(index: PacketIndex, wanted_pts: Sequence[int]) -> list[Segment]:
    """Runs of packets that must be fed to reach the wanted pictures, ascending, disjoint."""
    position = {p.pts: i for i, p in enumerate(index.packets) if p.pts is not None}
    keys = [i for i, p in enumerate(index.packets) if p.is_keyframe]
    segments: list[Segment] = []
    for packet_at in sorted({position[pts] for pts in wanted_pts}):
        pts = index.packets[packet_at].pts
        # A picture shown before its key picture (open GOP) refers to the GOP before: start one key earlier.
        start = next((k for k in reversed(keys) if k <= packet_at and index.packets[k].pts <= pts), 0)
        if segments and start < segments[-1][1]:
            segments[-1] = (segments[-1][0], max(segments[-1][1], packet_at + 1))
        else:
            segments.append((start, packet_at + 1))
    return segments


def pick(container: Any, index: PacketIndex, wanted_pts: Sequence[int], limits: DecodeLimits) -> dict[int, Any]:
    """Decoded pictures by timestamp; a wanted one that does not decode is absent.

    Raises:
        DecodeBudget: reaching them would go through too many pixels.
        UnsupportedMedia: the codec cannot be opened.
    """
    segments = plan_segments(index, wanted_pts)
    check_budget(index, sum(stop - start for start, stop in segments), limits)
    context = _context(container, limits)
    wanted = set(wanted_pts)
    got: dict[int, Any] = {}
    for start, stop in segments:
        context.flush_buffers()
        for packet in _feed_order(index, start, stop, wanted, got):
            context.skip_frame = "DEFAULT" if packet is None or packet.pts in wanted else "NONREF"
            for frame in _decode(context, packet):
                if frame.pts in wanted and not frame.is_corrupt:
                    got[frame.pts] = frame
    return got


def _feed_order(index: PacketIndex, start: int, stop: int, wanted: set[int], got: dict[int, Any]) -> Iterator[Any]:
    """The segment's packets, then a drain for the pictures still held back for reordering."""
    inside = {p.pts for p in index.packets[start:stop]} & wanted
    yield from index.packets[start:stop]
    if not inside <= got.keys():
        yield None


def read_on(
    container: Any, index: PacketIndex, targets_s: Sequence[float], limits: DecodeLimits
) -> list[tuple[float, NDArray[np.uint8]]]:
    """For each target the time and RGB of the picture on screen, by decoding the stream from its start.

    Raises:
        DecodeBudget: the stream has too many pixels in all.
        CorruptMedia: nothing decodes, or not near enough to a target.
    """
    check_budget(index, len(index.packets), limits)
    stream = video_stream(container)
    context = _context(container, limits)
    step = index.probe.end_s / max(1, len(index.packets))
    chosen: list[tuple[float, Any] | None] = [None] * len(targets_s)
    seen = 0
    for packet in [*index.packets, None]:
        for frame in _decode(context, packet):
            timed = frame.pts is not None and index.pts
            time_s = float((frame.pts - index.pts[0]) * stream.time_base) if timed else seen * step
            seen += 1
            if not frame.is_corrupt:
                for i, target in enumerate(targets_s):
                    if time_s <= target + 1e-9 or chosen[i] is None:
                        chosen[i] = (time_s, frame)
    due = _due_times(index, targets_s)
    pictures: list[tuple[float, NDArray[np.uint8]]] = []
    for found, due_s in zip(chosen, due, strict=True):
        if found is None or abs(found[0] - due_s) > max(_MAX_DRIFT_S, 2 * step):
            raise CorruptMedia("too little of the video can be decoded: send an undamaged file")
        pictures.append((found[0], rgb(found[1])))
    return pictures


def _due_times(index: PacketIndex, targets_s: Sequence[float]) -> Sequence[float]:
    """When the picture that should be on screen at each target appears."""
    times = index.probe.times_s
    return [times[i] for i in on_screen(times, targets_s)] if times else targets_s


def check_budget(index: PacketIndex, pictures: int, limits: DecodeLimits) -> None:
    """Raises DecodeBudget where going through so many pictures costs too many pixels."""
    cost = index.probe.width * index.probe.height * pictures
    if cost > limits.max_decode_pixels:
        raise DecodeBudget(
            f"decoding would go through {cost} pixels, over the limit of {limits.max_decode_pixels}: "
            "send a smaller rendition or one with more frequent key pictures"
        )


def rgb(frame: Any) -> NDArray[np.uint8]:
    """The picture as (H, W, 3) uint8, turned upright by the container's display matrix."""
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    turns = round((frame.rotation or 0) / 90) % 4
    return np.rot90(pixels, turns) if turns else pixels


def resize(pixels: NDArray[np.uint8], side: int, interpolation: str) -> NDArray[np.uint8]:
    """The picture as (side, side, 3) uint8, through FFmpeg's scaler; the aspect ratio is not kept."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    scaled = frame.reformat(width=side, height=side, format="rgb24", interpolation=interpolation.upper())
    return np.asarray(scaled.to_ndarray(), np.uint8)


def _context(container: Any, limits: DecodeLimits) -> Any:
    context = video_stream(container).codec_context
    try:
        context.thread_count = limits.decoder_threads
        context.thread_type = "SLICE" if limits.decoder_threads == 1 else "AUTO"
        context.open(strict=False)
    except (av.error.FFmpegError, ValueError, RuntimeError):
        raise UnsupportedMedia(
            "the video's codec is not one this service decodes: send H.264, HEVC, VP9 or AV1"
        ) from None
    return context


def _decode(context: Any, packet: Any) -> list[Any]:
    """The pictures that come out; none where the packet is damaged (the caller sees the gap)."""
    try:
        return list(context.decode(packet))
    except (av.error.FFmpegError, OSError):
        return []
