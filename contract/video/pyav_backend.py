"""Wanted timestamps -> pictures, through PyAV (FFmpeg).

Two ways. *Picking* feeds only the packets from the key picture before each wanted one and lets the decoder
drop unwanted pictures that nothing refers to; on H.264 and HEVC that takes a little over half the time of
reading on (``docs/adr/0003-decoders.md``). *Reading on* decodes everything; it serves streams without usable
timestamps and those where picking did not bring a wanted picture.

Either way a picture is made small as soon as it is decoded, so that a clip holds one large picture at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from contract.errors import CorruptMedia, DecodeBudget, FrameTooLarge, UnsupportedMedia
from contract.input_spec import InputSpec
from contract.video.limits import DecodeLimits
from contract.video.probe import PacketIndex, never, stopped, video_stream
from contract.video.sampling import on_screen

_MAX_DRIFT_S = 0.5
"""How far a picture may lie from the one wanted, where that one does not decode, before the clip counts as corrupt."""
_ALIGNMENT = 128
"""Decoders round widths and heights up to whole blocks; none to more than this."""
_TOO_DAMAGED = "too little of the video can be decoded: send an undamaged file"

Picture = NDArray[np.uint8]
Segment = tuple[int, int]
"""Packets [start, stop) in decode order, fed after a flush."""


class Allowance:
    """What one clip's decode may still spend, over all its attempts, and whether anybody still wants it.

    Args:
        limits: how many pixels, in all and in one picture.
        stop: asked between two packets.
    """

    def __init__(self, limits: DecodeLimits, stop: Callable[[], bool] = never) -> None:
        self.limits = limits
        self._stop = stop
        self._spent = 0

    def check(self, index: PacketIndex, pictures: int) -> None:
        """Raises DecodeBudget where going through so many more pictures costs too many pixels."""
        if self._spent + index.probe.width * index.probe.height * pictures > self.limits.max_decode_pixels:
            raise self._over_budget()

    def spend(self, pixels: int) -> None:
        """Raises DecodeBudget once they are too many."""
        self._spent += pixels
        if self._spent > self.limits.max_decode_pixels:
            raise self._over_budget()

    def go_on(self) -> None:
        """Raises Stopped once nobody wants the clip any more."""
        if self._stop():
            raise stopped()

    def _over_budget(self) -> DecodeBudget:
        return DecodeBudget(
            f"decoding would go through more pixels than the limit of {self.limits.max_decode_pixels}: "
            "send a smaller rendition or one with more frequent key pictures"
        )


class Feed:
    """A decoder that is fed packets, with counts of what was decoded and what failed.

    The header's word on how large pictures are is checked before; the bitstream may say otherwise, at any packet.

    Raises (when fed):
        FrameTooLarge, DecodeBudget: the pictures in the bitstream are larger than the header said.
        Stopped: nobody wants the clip any more.
    """

    def __init__(self, container: Any, index: PacketIndex, allowance: Allowance) -> None:
        """Raises UnsupportedMedia if the codec cannot be opened."""
        limits = allowance.limits
        self._allowance = allowance
        self._fed = self._failed = 0
        self.context = video_stream(container).codec_context
        try:
            self.context.thread_count = limits.decoder_threads
            self.context.thread_type = "SLICE" if limits.decoder_threads == 1 else "AUTO"
            self.context.options = {"max_pixels": str(_allocated_pixels(index, limits))}
            self.context.open(strict=False)
        except (av.error.FFmpegError, ValueError, RuntimeError):
            raise UnsupportedMedia(
                "the video's codec is not one this service decodes: send H.264, HEVC, VP9 or AV1"
            ) from None

    def decode(self, packet: Any) -> list[Any]:
        """The undamaged pictures that come out; None drains the decoder. A damaged packet gives none."""
        self._allowance.go_on()
        self._fed += packet is not None
        try:
            frames = list(self.context.decode(packet))
        except (av.error.FFmpegError, OSError):
            self._failed += packet is not None
            frames = []
        largest = max([int(f.width * f.height) for f in frames], default=0)
        if largest > self._allowance.limits.max_frame_pixels:
            raise FrameTooLarge(
                f"a picture in the video is over the limit of {self._allowance.limits.max_frame_pixels} pixels: "
                "send smaller ones"
            )
        if packet is not None:
            self._allowance.spend(max(largest, int(self.context.width or 0) * int(self.context.height or 0)))
        return frames

    def check_damage(self) -> None:
        """Raises CorruptMedia where half of the packets or more did not decode."""
        if self._failed and 2 * self._failed >= self._fed:
            raise CorruptMedia(_TOO_DAMAGED)


def plan_segments(index: PacketIndex, wanted_pts: Sequence[int]) -> list[Segment]:
    """Runs of packets that must be fed to reach the wanted pictures, ascending, disjoint."""
    position = {p.pts: i for i, p in enumerate(index.packets) if not p.is_discard}
    keys = [(i, p.pts) for i, p in enumerate(index.packets) if p.is_keyframe and p.pts is not None]
    segments: list[Segment] = []
    for packet_at, pts in sorted((position[pts], pts) for pts in set(wanted_pts)):
        # A picture shown before its key picture (open GOP) refers to the GOP before: start one key earlier.
        start = next((k for k, key_pts in reversed(keys) if k <= packet_at and key_pts <= pts), 0)
        if segments and start < segments[-1][1]:
            segments[-1] = (segments[-1][0], max(segments[-1][1], packet_at + 1))
        else:
            segments.append((start, packet_at + 1))
    return segments


def pick(
    container: Any,
    index: PacketIndex,
    wanted_pts: Sequence[int],
    allowance: Allowance,
    shrink: Callable[[Any], Picture],
) -> dict[int, Picture]:
    """Timestamp -> the wanted picture after ``shrink``; a picture that does not decode is absent.

    Raises:
        DecodeBudget, FrameTooLarge: reaching them would go through too many pixels.
        UnsupportedMedia: the codec cannot be opened.
        CorruptMedia: most of what was fed does not decode.
    """
    segments = plan_segments(index, wanted_pts)
    allowance.check(index, sum(stop - start for start, stop in segments))
    feed = Feed(container, index, allowance)
    wanted = set(wanted_pts)
    got: dict[int, Picture] = {}
    for start, stop in segments:
        feed.context.flush_buffers()
        for packet in _feed_order(index, start, stop, wanted, got):
            feed.context.skip_frame = "DEFAULT" if packet is None or packet.pts in wanted else "NONREF"
            for frame in feed.decode(packet):
                if frame.pts in wanted and not frame.is_corrupt:
                    got[frame.pts] = shrink(frame)
    feed.check_damage()
    return got


def _feed_order(index: PacketIndex, start: int, stop: int, wanted: set[int], got: dict[int, Picture]) -> Iterator[Any]:
    """The segment's packets, then a drain for the pictures still held back for reordering."""
    inside = {p.pts for p in index.packets[start:stop]} & wanted
    yield from index.packets[start:stop]
    if not inside <= got.keys():
        yield None


def read_on(
    container: Any,
    index: PacketIndex,
    targets_s: Sequence[float],
    allowance: Allowance,
    shrink: Callable[[Any], Picture],
) -> list[tuple[float, Picture]]:
    """For each target the time of the picture on screen and the picture after ``shrink``, by decoding from the start.

    Args:
        container: freshly opened: a decoder that met damage may stay confused.
        index: of the same file; its packets are fed.
        targets_s: ascending.
        allowance: what is left of it.
        shrink: decoded picture -> small RGB.

    Raises:
        DecodeBudget, FrameTooLarge: the stream has too many pixels in all, or in one picture.
        CorruptMedia: nothing decodes, or not near enough to a target.
    """
    allowance.check(index, len(index.packets))
    feed = Feed(container, index, allowance)
    step = index.probe.end_s / max(1, len(index.packets))
    chosen: list[tuple[float, Picture]] = []
    latest: tuple[float, Any] | None = None

    def settle(until_s: float) -> None:
        """Assigns the latest picture to every open target before the moment."""
        small: Picture | None = None
        while latest is not None and len(chosen) < len(targets_s) and targets_s[len(chosen)] + 1e-9 < until_s:
            small = shrink(latest[1]) if small is None else small
            chosen.append((latest[0], small))

    for time_s, frame in _timed(feed, index, step):
        if not frame.is_corrupt:
            settle(time_s)
            latest = (time_s, frame)
    settle(float("inf"))
    feed.check_damage()
    _check_drift(index, targets_s, [time_s for time_s, _ in chosen], step)
    return chosen


def _timed(feed: Feed, index: PacketIndex, step: float) -> Iterator[tuple[float, Any]]:
    """Every picture of the stream and when it appears, in seconds from the first."""
    seen = 0
    for packet in [*index.packets, None]:
        for frame in feed.decode(packet):
            timed = frame.pts is not None and index.pts
            yield (float((frame.pts - index.pts[0]) * index.time_base) if timed else seen * step), frame
            seen += 1


def _check_drift(index: PacketIndex, targets_s: Sequence[float], found_s: Sequence[float], step: float) -> None:
    """Raises CorruptMedia where a picture is far from the one wanted, or most of the wanted ones are missing."""
    due_s = _due_times(index, targets_s)
    if len(found_s) < len(due_s):
        raise CorruptMedia(_TOO_DAMAGED)
    drift = {due: abs(shown - due) for due, shown in zip(due_s, found_s, strict=True)}
    missed = sum(d > 2 * step + 1e-6 for d in drift.values())
    if max(drift.values()) > max(_MAX_DRIFT_S, 2 * step) or 2 * missed > len(drift):
        raise CorruptMedia(_TOO_DAMAGED)


def _due_times(index: PacketIndex, targets_s: Sequence[float]) -> Sequence[float]:
    """When the picture that should be on screen at each target appears."""
    times = index.probe.times_s
    return [times[i] for i in on_screen(times, targets_s)] if times else targets_s


def _allocated_pixels(index: PacketIndex, limits: DecodeLimits) -> int:
    """The most pixels of one picture for the decoder: the limit, or what the probed size rounds up to."""
    width, height = (-(-side // _ALIGNMENT) * _ALIGNMENT for side in (index.probe.width, index.probe.height))
    return max(limits.max_frame_pixels, width * height)


def shrunk(frame: Any, spec: InputSpec) -> Picture:
    """The picture upright, as (S, S, 3) uint8 RGB.

    Raises:
        CorruptMedia: FFmpeg cannot convert it.
    """
    try:
        return resize(rgb(frame), spec.frame_size, spec.interpolation)
    except (av.error.FFmpegError, ValueError):
        raise CorruptMedia("the video's pictures cannot be read as RGB: send H.264 in MP4") from None


def rgb(frame: Any) -> NDArray[np.uint8]:
    """The picture as (H, W, 3) uint8, turned upright by the container's display matrix."""
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24", threads=1)
    turns = round((frame.rotation or 0) / 90) % 4
    return np.rot90(pixels, turns) if turns else pixels


def resize(pixels: NDArray[np.uint8], side: int, interpolation: str) -> NDArray[np.uint8]:
    """The picture as (side, side, 3) uint8, through FFmpeg's scaler; the aspect ratio is not kept."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    scaled = frame.reformat(width=side, height=side, format="rgb24", interpolation=interpolation.upper(), threads=1)
    return np.asarray(scaled.to_ndarray(), np.uint8)
