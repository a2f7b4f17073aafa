"""Clips decoded once and cached: ``<directory>/<spec digest>/<key>.npy``, read by every epoch, method and seed.

The key names the file (path, size, time of change) and the window, so that a changed clip is decoded anew. A
clip that cannot be decoded is listed in ``failed`` and never handed out, least of all as black frames.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from contract.errors import InputError
from contract.input_spec import InputSpec
from contract.video import DecodeLimits, decode
from training.atomic_write import replacing
from training.child_process import end_with_parent
from training.data.manifest import Row

_LOG = logging.getLogger(__name__)
MISSING_FILE = "missing_file"
WINDOW_OUTSIDE = "window_outside_clip"
DECODER_CRASHED = "decoder_crashed"
CLIP_TIMEOUT_S = 120
"""A worker that takes longer over one clip is ended by the kernel, and the clip counts as crashed."""


@dataclass(frozen=True)
class _Clip:
    """One clip to decode, as a worker needs it."""

    source: Path
    target: Path
    spec: InputSpec
    limits: DecodeLimits
    window_ms: tuple[float, float] | None


@dataclass(frozen=True)
class FrameCache:
    """The frames of a set of rows.

    Attributes:
        spec: which frames, how large.
        files: row id -> its ``.npy``.
        failed: row id -> why there are no frames: a code of ``contract.errors`` or one of this module.
    """

    spec: InputSpec
    files: dict[str, Path]
    failed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        rows: Sequence[Row],
        video_path: Callable[[Row], Path | None],
        spec: InputSpec,
        limits: DecodeLimits,
        directory: Path,
        *,
        workers: int = 1,
        progress: bool = True,
    ) -> FrameCache:
        """The cache of all rows with a video; what an earlier or interrupted run decoded is not decoded again.

        Args:
            rows: any rows; those without a video are passed over.
            video_path: ``Manifest.video_path``.
            spec: which frames, how large.
            limits: what a clip may cost.
            directory: of the cache; may be shared between manifests and specs.
            workers: decoding processes.
            progress: show a bar where stderr is a terminal.

        Raises:
            ValueError: fewer than one worker.
        """
        if workers < 1:
            raise ValueError("workers must be at least 1")
        home = directory / spec.digest()[:16]
        home.mkdir(parents=True, exist_ok=True)
        files: dict[str, Path] = {}
        failed: dict[str, str] = {}
        missing: dict[Path, _Clip] = {}
        for row in rows:
            source = video_path(row)
            if source is None:
                continue
            if not source.is_file():
                failed[row.id] = MISSING_FILE
                continue
            files[row.id] = target = home / f"{_key(source, row.window_ms)}.npy"
            if not _is_whole(target, spec):
                missing[target] = _Clip(source, target, spec, limits, row.window_ms)
        codes = _decode_all(list(missing.values()), workers, progress)
        failed |= {row_id: codes[target] for row_id, target in files.items() if target in codes}
        return cls(spec, {row_id: path for row_id, path in files.items() if row_id not in failed}, failed)

    def frames(self, row: Row) -> NDArray[np.uint8]:
        """(T, S, S, 3) uint8 RGB.

        Raises:
            KeyError: the row has no video, its clip failed, or it was not among the rows of ``build``.
        """
        pixels: NDArray[np.uint8] = np.load(self.files[row.id], allow_pickle=False)
        return pixels

    @property
    def failures(self) -> dict[str, int]:
        """Code -> how many rows it cost."""
        return dict(sorted(Counter(self.failed.values()).items()))


def _key(source: Path, window_ms: tuple[float, float] | None) -> str:
    stat = source.stat()
    identity = f"{source.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}\n{window_ms}"
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _is_whole(target: Path, spec: InputSpec) -> bool:
    return target.is_file() and target.stat().st_size > int(np.prod(spec.frames_shape))


def _decode_all(clips: Sequence[_Clip], workers: int, progress: bool) -> dict[Path, str]:
    """Target -> code of the clips that failed."""
    codes: dict[Path, str] = {}
    shown = progress and sys.stderr.isatty()
    if clips:
        _LOG.info("decoding %d clip(s), %d at a time", len(clips), min(workers, len(clips)))
    for clip, code in tqdm(
        _outcomes(clips, workers), total=len(clips), desc="decoding", unit="clip", disable=not shown
    ):
        if code is not None:
            codes[clip.target] = code
    return codes


def _outcomes(clips: Sequence[_Clip], workers: int) -> Iterator[tuple[_Clip, str | None]]:
    """Every clip with its code, None for success, as they finish.

    A dead worker breaks the whole pool without saying whose clip it had. So no more clips are handed in than there
    are workers; those in flight when it breaks are suspects, and each is tried again alone.
    """
    waiting = deque(clips)
    while waiting:
        suspects: list[_Clip] = []
        with _pool(min(workers, len(waiting))) as pool:
            in_flight: dict[Future[str | None], _Clip] = {}
            broken = False
            while in_flight or (waiting and not broken):
                while waiting and not broken and len(in_flight) < workers:
                    try:
                        in_flight[pool.submit(_decode_one, waiting[0])] = waiting[0]
                        waiting.popleft()
                    except BrokenProcessPool:  # a worker died idle: go on with a fresh pool
                        broken = True
                for future in wait(in_flight, return_when=FIRST_COMPLETED).done:
                    clip = in_flight.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        broken = True
                        suspects.append(clip)
                    else:
                        yield clip, future.result()
        for clip in suspects:
            yield clip, _decode_alone(clip)


def _decode_alone(clip: _Clip) -> str | None:
    with _pool(1) as pool:
        try:
            return pool.submit(_decode_one, clip).result()
        except BrokenProcessPool:
            return DECODER_CRASHED


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: the parent may hold threads of torch, and a decoder must start clean.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)


def _decode_one(clip: _Clip) -> str | None:
    """The code of the failure; None where the target was written. Runs in a worker."""
    # The default action of SIGALRM ends the process even where native code hangs.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(CLIP_TIMEOUT_S)
    try:
        frames = decode(clip.source, clip.spec, clip.limits, window_ms=clip.window_ms)
    except InputError as error:
        return error.code
    except ValueError:
        if clip.window_ms is None:
            raise
        return WINDOW_OUTSIDE
    finally:
        signal.alarm(0)
    with replacing(clip.target) as partial, partial.open("wb") as file:
        np.save(file, frames.pixels, allow_pickle=False)
    return None
