"""What the first bytes of a file say, byte by byte: what kind it is, how long it should be, whether it is locked."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from contract.video.envelope import looks_like_media, missing_share, names_encryption

EBML = b"\x1aE\xdf\xa3"
SEGMENT = b"\x18\x53\x80\x67"


def box(kind: bytes, body: bytes = b"", *, length: int | None = None) -> bytes:
    return struct.pack(">I", 8 + len(body) if length is None else length) + kind + body


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", [b"ftyp", b"styp", b"moov", b"mdat", b"free", b"wide", b"skip", b"moof", b"sidx"])
def test_any_box_that_an_mp4_may_begin_with_looks_like_one(tmp_path: Path, kind: bytes) -> None:
    assert looks_like_media(written(tmp_path, box(kind, b"x" * 8)))
    assert not looks_like_media(written(tmp_path, box(kind.upper(), b"x" * 8)))


@pytest.mark.parametrize(
    ("head", "media"),
    [
        (EBML + b"rest", True),
        (b"RIFF\0\0\0\0AVI LIST", True),
        (b"RIFF\0\0\0\0WAVEfmt ", False),
        (b"riff\0\0\0\0AVI LIST", False),
        (b"RIFF\0\0\0\0avi LIST", False),
        (b"GIF89a" + bytes(20), False),
        (b"#EXTM3U\nftyp", False),
        (b"", False),
    ],
)
def test_other_containers_are_known_by_their_first_bytes(tmp_path: Path, head: bytes, media: bool) -> None:
    assert looks_like_media(written(tmp_path, head)) is media


def test_encrypted_video_is_named_in_the_first_megabyte_of_an_mp4(tmp_path: Path) -> None:
    start = box(b"ftyp", b"isom")
    assert names_encryption(written(tmp_path, start + bytes((1 << 20) - len(start) - 4) + b"encv"))
    assert not names_encryption(written(tmp_path, start + bytes((1 << 20) - len(start)) + b"encv"))
    assert not names_encryption(written(tmp_path, b"EBML" + start + b"encv"))


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        (box(b"ftyp", b"x" * 92) + box(b"mdat", b"x" * 292), 0.0),
        (box(b"ftyp", b"x" * 92) + box(b"mdat", b"x" * 92, length=300), 0.5),
        # A length of 1 says that the true one, of eight bytes, follows.
        (box(b"ftyp", b"x" * 92) + box(b"mdat", struct.pack(">Q", 300) + b"x" * 84, length=1), 0.5),
        # 0 means "up to the end"; less than 8 is no length; a name that is no name ends the walk.
        (box(b"ftyp", b"x" * 92) + box(b"mdat", b"x" * 50, length=0), 0.0),
        (box(b"ftyp", b"x" * 92) + box(b"mdat", b"x" * 50, length=7), 0.0),
        (box(b"ftyp", b"x" * 92) + box(b"\0dat", b"x" * 50, length=300), 0.0),
        (box(b"ftyp", b"x" * 92, length=100) + box(b"free", length=8) + box(b"mdat", b"x" * 84, length=292), 0.5),
    ],
)
def test_boxes_say_how_long_an_mp4_is(tmp_path: Path, data: bytes, missing: float) -> None:
    assert missing_share(written(tmp_path, data)) == pytest.approx(missing)


@pytest.mark.parametrize(
    ("declared", "missing"), [(392, 0.5), (192, 0.0), (0, 0.0), (0xFFFFFFE7, 1.0), (0xFFFFFFE8, 0.0)]
)
def test_an_avi_says_how_long_it_is_behind_its_first_eight_bytes(tmp_path: Path, declared: int, missing: float) -> None:
    data = b"RIFF" + struct.pack("<I", declared) + b"AVI " + bytes(188)
    assert missing_share(written(tmp_path, data)) == pytest.approx(missing, abs=1e-6)


@pytest.mark.parametrize(
    ("head", "missing"),
    [
        (EBML + b"\x80" + SEGMENT + b"\xe4", 0.0),  # one byte of length: 100
        (EBML + b"\x82ab" + SEGMENT + b"\x40\xbd", 0.5),  # two bytes: 189, after 11 that come before
        (EBML + b"\x80" + SEGMENT + b"\x01" + (184).to_bytes(7, "big"), 0.5),  # eight bytes
        (EBML + b"\x80" + SEGMENT + b"\xff", 0.0),  # all ones: not known
        (EBML + b"\x80" + SEGMENT + b"\x01" + b"\xff" * 7, 0.0),
        (EBML + b"\x80" + SEGMENT + b"\x00", 0.0),  # no length at all
        (EBML + b"\x80" + b"\x18\x53\x80\x68" + b"\x40\xbd", 0.0),  # something else than a segment
        (EBML + b"\x00", 0.0),
    ],
)
def test_a_matroska_segment_says_how_long_it_is(tmp_path: Path, head: bytes, missing: float) -> None:
    held = 100 if missing else 1000
    assert missing_share(written(tmp_path, head + bytes(held - len(head)))) == pytest.approx(missing, abs=0.02)
