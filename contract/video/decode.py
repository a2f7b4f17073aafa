"""A file -> the frames a model reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.errors import CorruptMedia, UnsupportedMedia
from contract.input_spec import InputSpec
from contract.video import decord_backend, pyav_backend
from contract.video.limits import Backend, DecodeLimits
from contract.video.probe import PacketIndex, VideoProbe, index_packets, never, open_container
from contract.video.sampling import on_screen, target_times
from contract.video.source import Source, path_of

Pictures = list[tuple[float, NDArray[np.uint8]]]


@dataclass(frozen=True)
class Frames:
    """A clip as a model reads it.

    Attributes:
        pixels: (T, S, S, 3) uint8 RGB, in order of time, or burst after burst. A clip of fewer than T
            pictures repeats some.
        times_ms: (T,) when each appears, in ms from the clip's first picture.
        probe: what the container held.
    """

    pixels: NDArray[np.uint8]
    times_ms: tuple[float, ...]
    probe: VideoProbe


def decode(
    source: Source,
    spec: InputSpec,
    limits: DecodeLimits,
    *,
    window_ms: tuple[float, float] | None = None,
    out: NDArray[np.uint8] | None = None,
    phase: float = 0.0,
    stop: Callable[[], bool] = never,
) -> Frames:
    """The frames that ``spec`` asks for.

    Args:
        source: a regular file: its path, or its descriptor, whose offset is moved.
        spec: which frames, how large.
        limits: checked before anything is decoded.
        window_ms: only this span of the clip counts, in ms from its first picture.
        out: (T, S, S, 3) uint8 to write the pixels into, for instance a slot of shared memory.
        phase: as in ``target_times``.
        stop: asked between two packets whether the clip is wanted no more.

    Raises:
        MediaError: see ``contract.errors``.
        Stopped: ``stop`` said so.
        ValueError: an empty window, or ``out`` of another shape.
    """
    pixels = np.empty(spec.frames_shape, np.uint8) if out is None else out
    if pixels.shape != spec.frames_shape or pixels.dtype != np.uint8:
        raise ValueError(f"out must be {spec.frames_shape} uint8")
    with open_container(source) as container:
        index = index_packets(source, container, limits, stop)
        allowance = pyav_backend.Allowance(limits, stop)
        wanted_s = _targets(index.probe, spec, window_ms, phase)
        order = sorted(range(len(wanted_s)), key=wanted_s.__getitem__)  # bursts of a short clip may overlap
        targets_s = [wanted_s[i] for i in order]
        if limits.backend is Backend.DECORD:
            pictures = _by_decord(source, index, targets_s, spec, allowance)
        else:
            pictures = _by_pyav(source, container, index, targets_s, spec, allowance)
    times_ms = [0.0] * len(pictures)
    for row, (time_s, picture) in zip(order, pictures, strict=True):
        pixels[row], times_ms[row] = picture, round(time_s * 1000, 3)
    return Frames(pixels, tuple(times_ms), index.probe)


def _targets(probe: VideoProbe, spec: InputSpec, window_ms: tuple[float, float] | None, phase: float) -> list[float]:
    first_s, end_s = 0.0, probe.end_s
    if window_ms is not None:
        first_s, end_s = window_ms[0] / 1000, min(end_s, window_ms[1] / 1000)
        if not 0 <= first_s < end_s:
            raise ValueError(f"window {window_ms} ms holds nothing of a clip of {probe.end_s:.3f} s")
    return target_times(first_s, end_s, spec, phase)


def _by_pyav(
    source: Source,
    container: object,
    index: PacketIndex,
    targets_s: list[float],
    spec: InputSpec,
    allowance: pyav_backend.Allowance,
) -> Pictures:
    def shrink(frame: object) -> NDArray[np.uint8]:
        return pyav_backend.shrunk(frame, spec)

    if index.probe.indexed:
        wanted = on_screen(index.probe.times_s, targets_s)
        got = pyav_backend.pick(container, index, [index.pts[i] for i in wanted], allowance, shrink)
        if all(index.pts[i] in got for i in wanted):
            return [(index.probe.times_s[i], got[index.pts[i]]) for i in wanted]
    # A decoder that met damage may stay confused: read on with a fresh one.
    with open_container(source) as fresh:
        return pyav_backend.read_on(fresh, index, targets_s, allowance, shrink)


def _by_decord(
    source: Source, index: PacketIndex, targets_s: list[float], spec: InputSpec, allowance: pyav_backend.Allowance
) -> Pictures:
    if not index.probe.indexed:
        raise CorruptMedia("the video's pictures carry no timestamps")
    if index.probe.container in ("mpegts", "mpeg"):
        # It loses the first pictures of some streams without a word, and every later one is then another.
        raise UnsupportedMedia("decord does not number the pictures of a transport stream reliably: send H.264 in MP4")
    allowance.check(index, len(index.packets))
    wanted = on_screen(index.probe.times_s, targets_s)
    distinct = sorted(set(wanted))
    large = decord_backend.pick(path_of(source), index.probe.times_s, distinct, allowance)
    small = {
        i: pyav_backend.resize(picture, spec.frame_size, spec.interpolation)
        for i, picture in zip(distinct, large, strict=True)
    }
    return [(index.probe.times_s[i], small[i]) for i in wanted]
