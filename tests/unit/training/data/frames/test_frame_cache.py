from __future__ import annotations

import os
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pytest

from contract.input_spec import InputSpec
from contract.video import DecodeLimits, decode
from training.data.frames import frame_cache
from training.data.frames.frame_cache import FrameCache
from training.data.manifest import Manifest, Row
from training.data.synthetic import generate

SPEC = InputSpec(frames=4, frame_size=16)
LIMITS = DecodeLimits()


class Bomb(PosixPath):
    """A path that ends the process that unpickles it, as a decoder's native code may."""

    def __reduce__(self) -> Any:
        return (os._exit, (1,))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return generate(tmp_path_factory.mktemp("synthetic"), clips=16, titles=12)


def build(manifest: Manifest, rows: tuple[Row, ...], directory: Path, workers: int = 1) -> FrameCache:
    return FrameCache.build(rows, manifest.video_path, SPEC, LIMITS, directory, workers=workers, progress=False)


def test_frames_are_those_that_decode_gives(made: Manifest, tmp_path: Path) -> None:
    clips = tuple(r for r in made.rows if r.video)[:3]
    cache = build(made, (*clips, *made.rows[-2:]), tmp_path, workers=2)
    assert set(cache.files) == {r.id for r in clips}
    assert cache.failed == {}
    for row in clips:
        path = made.video_path(row)
        assert path is not None
        frames = cache.frames(row)
        assert frames.dtype == np.uint8
        np.testing.assert_array_equal(frames, decode(path, SPEC, LIMITS).pixels)
    with pytest.raises(KeyError):
        cache.frames(made.rows[-1])


def test_windows_are_cached_apart(made: Manifest, tmp_path: Path) -> None:
    whole = made.rows[0]
    start = whole.model_copy(update={"id": "start", "window_ms": (0.0, 200.0)})
    cache = build(made, (whole, start), tmp_path)
    path = made.video_path(whole)
    assert path is not None
    np.testing.assert_array_equal(cache.frames(start), decode(path, SPEC, LIMITS, window_ms=(0.0, 200.0)).pixels)
    assert (cache.frames(whole) != cache.frames(start)).any()


def test_what_is_there_is_not_decoded_again(made: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = made.rows[:3]
    first = build(made, rows, tmp_path)
    first.files[rows[0].id].write_bytes(b"cut short")
    asked: list[str] = []

    def outcomes(clips: list[Any], workers: int) -> Any:
        asked.extend(clip.source.name for clip in clips)
        yield from real(clips, workers)

    real = frame_cache._outcomes
    monkeypatch.setattr(frame_cache, "_outcomes", outcomes)
    again = build(made, rows, tmp_path)
    assert asked == ["0000.mp4"]
    assert again.frames(rows[0]).shape == SPEC.frames_shape


def test_a_changed_clip_or_spec_is_decoded_anew(made: Manifest, tmp_path: Path) -> None:
    row = made.rows[0]
    before = build(made, (row,), tmp_path).files[row.id]
    source = made.video_path(row)
    assert source is not None
    os.utime(source, ns=(1, 1))
    after = build(made, (row,), tmp_path).files[row.id]
    assert before != after
    other = FrameCache.build(
        [row], made.video_path, InputSpec(frames=2, frame_size=16), LIMITS, tmp_path, progress=False
    )
    assert other.files[row.id].parent != after.parent


def test_clips_that_fail_are_counted_and_never_handed_out(made: Manifest, tmp_path: Path) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"not a clip")
    (tmp_path / "empty.mp4").write_bytes(b"")
    rows = tuple(Row(id=name, video=str(tmp_path / f"{name}.mp4"), group="g") for name in ("junk", "empty", "absent"))
    late = made.rows[0].model_copy(update={"id": "late", "window_ms": (50_000.0, 51_000.0)})
    cache = build(made, (*rows, late, made.rows[1]), tmp_path / "cache")
    assert cache.failed == {
        "junk": "unsupported_media",
        "empty": "empty_video",
        "absent": frame_cache.MISSING_FILE,
        "late": frame_cache.WINDOW_OUTSIDE,
    }
    assert cache.failures == {code: 1 for code in sorted(cache.failed.values())}
    assert set(cache.files) == {made.rows[1].id}
    with pytest.raises(KeyError):
        cache.frames(rows[0])


def test_a_clip_that_kills_its_worker_costs_itself_only(made: Manifest, tmp_path: Path) -> None:
    rows = made.rows[:5]

    def paths(row: Row) -> Path | None:
        path = made.video_path(row)
        return Bomb(path) if path is not None and row is rows[1] else path

    cache = FrameCache.build(rows, paths, SPEC, LIMITS, tmp_path, workers=2, progress=False)
    assert cache.failed == {rows[1].id: frame_cache.DECODER_CRASHED}
    assert set(cache.files) == {r.id for r in rows} - {rows[1].id}


def test_rows_of_one_clip_share_its_frames_and_its_failure(made: Manifest, tmp_path: Path) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"not a clip")
    twins = tuple(Row(id=name, video=str(tmp_path / "junk.mp4"), group="g") for name in ("a", "b"))
    assert set(build(made, twins, tmp_path / "cache").failed) == {"a", "b"}


def test_at_least_one_worker(made: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="workers"):
        build(made, (), tmp_path, workers=0)
