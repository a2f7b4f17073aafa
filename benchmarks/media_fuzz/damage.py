"""Damage to media files: file ``number`` of a seed is always the same, so that a fault can be looked at again."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.clip import write_clip

_EXTREMES = (b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01", b"\x00\x01\x00\x00")

Damage = Callable[[bytearray, random.Random], None]
"""Changes the bytes in place."""


def flip(data: bytearray, rng: random.Random) -> None:
    """Some bits, anywhere or near the front."""
    reach = len(data) if rng.random() < 0.6 else min(len(data), 4096)
    for _ in range(rng.choice((1, 3, 10, 40, 200))):
        data[rng.randrange(reach)] ^= 1 << rng.randrange(8)


def cut(data: bytearray, rng: random.Random) -> None:
    """The end, the front, or a piece between."""
    a, b = sorted((rng.randrange(len(data)), rng.randrange(len(data) + 1)))
    del data[slice(*rng.choice(((a, None), (0, min(a, 64)), (a, b))))]


def repeat(data: bytearray, rng: random.Random) -> None:
    """A piece is written over another place."""
    size = rng.randrange(1, min(len(data), 8192) + 1)
    source, place = rng.randrange(len(data) - size + 1), rng.randrange(len(data) - size + 1)
    data[place : place + size] = data[source : source + size]


def blank(data: bytearray, rng: random.Random) -> None:
    """A piece becomes zeros or ones."""
    a = rng.randrange(len(data))
    size = min(len(data) - a, rng.randrange(1, 4096))
    data[a : a + size] = bytes([rng.choice((0, 0xFF))]) * size


def inflate(data: bytearray, rng: random.Random) -> None:
    """Four bytes, as lengths, counts and sizes are written, become an extreme."""
    for _ in range(rng.choice((1, 2, 6))):
        a = rng.randrange(max(1, min(len(data), 4096) - 4))
        data[a : a + 4] = rng.choice(_EXTREMES)


DAMAGES: tuple[Damage, ...] = (flip, cut, repeat, blank, inflate)


def damaged(bases: Sequence[bytes], seed: int, number: int) -> bytes:
    """File ``number`` of a seed: a base with one to three kinds of damage; never empty."""
    rng = random.Random(f"{seed}-{number}")
    data = bytearray(rng.choice(bases))
    for damage in rng.choices(DAMAGES, k=rng.choice((1, 1, 2, 3))):
        damage(data, rng)
        if not data:
            data += b"\0"
    return bytes(data)


def bases(corpus: Path | None, most_bytes: int) -> list[bytes]:
    """The files that are damaged: clips made here, and those of the corpus that are not too large."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        made = []
        for seconds, width, height in ((1, 128, 96), (2, 320, 240), (4, 160, 120)):
            write_clip(path, seconds=seconds, width=width, height=height, kbit_s=200)
            made.append(path.read_bytes())
    files = sorted(corpus.rglob("*")) if corpus else []
    fit = [file.read_bytes() for file in files if file.is_file() and 0 < file.stat().st_size <= most_bytes]
    return made * max(1, len(fit) // 6) + fit
