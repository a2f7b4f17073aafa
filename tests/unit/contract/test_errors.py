"""Every refusal, produced by a real generated file; none lets a path or a library speak."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from contract import errors
from contract.errors import InputError, MediaError
from contract.input_spec import InputSpec
from contract.video import DecodeLimits, decode
from tests.synthetic_bundle import (
    write_audio_only,
    write_clip,
    write_clip_without_frames,
    write_huge_picture,
    write_truncated_clip,
)
from tests.unit.contract.clips import cut, write_numbered

SPEC = InputSpec(frames=4, frame_size=32)


def _bytes(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


def _head_and_garbage(path: Path) -> Path:
    data = write_clip(path, seconds=2).read_bytes()
    at = data.index(b"mdat") + 4
    path.write_bytes(data[:at] + bytes((i * 97 + 13) % 256 for i in range(len(data) - at)))
    return path


def _pictures_of_garbage(path: Path) -> Path:
    data = bytearray(write_numbered(path, 30, b_frames=0).read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = bytes((i * 97 + 13) % 256 for i in range(end - start))
    path.write_bytes(data)
    return path


def _hls_of_a_local_file(path: Path) -> Path:
    """A playlist that FFmpeg would follow, were its format let in."""
    named = write_numbered(path.with_name("private.ts"))
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\nfile://{named}\n#EXT-X-ENDLIST\n")
    return path


def _ffconcat_of_a_local_file(path: Path) -> Path:
    named = write_numbered(path.with_name("private.mp4"))
    path.write_text(f"ffconcat version 1.0\nfile {named.name}\n")
    return path


def _cut_after_index(path: Path) -> Path:
    return cut(write_numbered(path, 60, container_options={"movflags": "faststart"}), 0.6)


def _cut(path: Path) -> Path:
    return write_truncated_clip(path, share=0.5, seconds=3, codec="mpeg4" if path.suffix == ".avi" else "libx264")


MEDIA: dict[str, tuple[str, Callable[[Path], object], DecodeLimits, str]] = {
    "zero_bytes": ("a.mp4", _bytes(b""), DecodeLimits(), "empty_video"),
    "text": ("a.mp4", _bytes(b"this is not a video\n" * 200), DecodeLimits(), "unsupported_media"),
    "hls_of_a_local_file": ("a.m3u8", _hls_of_a_local_file, DecodeLimits(), "unsupported_media"),
    "ffconcat_of_a_local_file": ("a.mp4", _ffconcat_of_a_local_file, DecodeLimits(), "unsupported_media"),
    "audio_only": ("a.mp4", write_audio_only, DecodeLimits(), "no_video_stream"),
    "no_pictures": ("a.avi", write_clip_without_frames, DecodeLimits(), "no_frames"),
    "index_cut_off": ("a.mp4", _cut, DecodeLimits(), "corrupt_video"),
    "head_and_garbage": ("a.mp4", _head_and_garbage, DecodeLimits(), "corrupt_video"),
    "pictures_of_garbage": ("a.mp4", _pictures_of_garbage, DecodeLimits(), "corrupt_video"),
    "cut_after_index": ("a.mp4", _cut_after_index, DecodeLimits(), "truncated_video"),
    "cut_avi": ("a.avi", _cut, DecodeLimits(), "truncated_video"),
    "cut_mkv": ("a.mkv", _cut, DecodeLimits(), "truncated_video"),
    "8k": ("a.mp4", write_huge_picture, DecodeLimits(), "frame_too_large"),
    "too_long": ("a.mp4", write_numbered, DecodeLimits(max_duration_s=1.0), "video_too_long"),
    "too_many_pictures": ("a.mp4", write_numbered, DecodeLimits(max_packets=20), "video_too_long"),
    "over_budget": ("a.mp4", write_numbered, DecodeLimits(max_decode_pixels=50_000), "decode_budget_exceeded"),
}


@pytest.mark.parametrize("case", sorted(MEDIA))
def test_a_bad_file_gets_its_own_code_and_says_what_to_change(tmp_path: Path, case: str) -> None:
    name, write, limits, code = MEDIA[case]
    path = tmp_path / name
    write(path)
    with pytest.raises(MediaError) as refused:
        decode(path, SPEC, limits)
    assert refused.value.code == code
    detail = refused.value.detail
    assert str(tmp_path) not in detail
    assert not any(word in detail for word in ("Error", "avcodec", "Invalid data", "/tmp", "Errno", name))
    assert refused.value.__cause__ is None


def test_the_cases_cover_every_kind_of_bad_media() -> None:
    assert {code for *_, code in MEDIA.values()} == {kind.code for kind in MediaError.__subclasses__()}


def _all_input_errors() -> list[type[InputError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, InputError)]


def test_codes_are_distinct_and_listed_in_the_tree() -> None:
    kinds = [kind for kind in _all_input_errors() if kind not in (InputError, MediaError)]
    assert len({kind.code for kind in kinds}) == len(kinds) == 11
    for kind in kinds:
        assert f"{kind.__name__} " in (errors.__doc__ or "")
        assert kind.code in (errors.__doc__ or "")


@pytest.mark.parametrize("kind", _all_input_errors())
def test_a_refusal_survives_the_way_out_of_a_worker(kind: type[InputError]) -> None:
    again = pickle.loads(pickle.dumps(kind("send another file")))
    assert type(again) is kind
    assert (again.detail, str(again)) == ("send another file", "send another file")
