"""What a file's outermost structure declares, read without a decoder: how long it should be, whether it is locked.

Demuxers read a file that was cut off up to the cut and say nothing. MP4, Matroska and AVI write down how many
bytes belong to them, so that a cut can be told from a short clip.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from contract.video.source import Source, opened

_MAX_BOXES = 100_000
"""Top-level boxes of an MP4 that are walked: a fragmented one has two for each fragment."""
_HEAD_BYTES = 1 << 20
_SEGMENT_ID = b"\x18\x53\x80\x67"
_ISO_TYPES = (b"ftyp", b"styp", b"moov", b"mdat", b"free", b"wide", b"skip", b"moof", b"sidx")


def looks_like_media(source: Source) -> bool:
    """Whether the file starts like MP4, Matroska or AVI."""
    with opened(source) as file:
        head = file.read(16)
    return _is_iso(head) or head[:4] == b"\x1aE\xdf\xa3" or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")


def names_encryption(source: Source) -> bool:
    """Whether an MP4's first megabyte holds the sample entry of encrypted video."""
    with opened(source) as file:
        head = file.read(_HEAD_BYTES)
    return _is_iso(head) and b"encv" in head


def missing_share(source: Source) -> float:
    """The share, in [0, 1], of the bytes declared by the container that the file does not hold; 0 where none is."""
    with opened(source) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(64)
        if _is_iso(head):
            declared = _iso_end(file, size)
        elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            declared = 8 + int.from_bytes(head[4:8], "little")
            declared = 0 if declared >= 0xFFFFFFF0 else declared  # a writer that could not go back says 0 or all ones
        elif head[:4] == b"\x1aE\xdf\xa3":
            declared = _matroska_end(head)
        else:
            declared = 0
    return max(0.0, 1 - size / declared) if declared else 0.0


def _is_iso(head: bytes) -> bool:
    return head[4:8] in _ISO_TYPES


def _iso_end(file: BinaryIO, size: int) -> int:
    """Where the last top-level box ends; 0 after something that is no box."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at >= size:
            return at
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:16], "big")
        if length < 8 or not header[4:8].isalnum():  # 0: up to the end; anything else below 8 is no box
            return 0
        at += length
    return 0


def _matroska_end(head: bytes) -> int:
    """Where the segment ends; 0 where its length is not known or not among the first bytes."""
    first = _vint(head, 4)
    if first is None:
        return 0
    at = first[1] + first[0]
    if head[at : at + 4] != _SEGMENT_ID:
        return 0
    segment = _vint(head, at + 4)
    return 0 if segment is None else segment[1] + segment[0]


def _vint(data: bytes, at: int) -> tuple[int, int] | None:
    """An EBML length and where the data after it begin; None where it is unknown or not there."""
    if at >= len(data) or data[at] == 0:
        return None
    width = 9 - data[at].bit_length()
    if at + width > len(data):
        return None
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return None if value == (1 << 7 * width) - 1 else (value, at + width)
