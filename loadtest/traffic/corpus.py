"""A directory of clips with a manifest: generated, or the user's own.

    corpus/manifest.json    {"recipe", "clips": [{"file", "codec", "seconds", "width", "height", "expect", "weight"}]}
    corpus/h264-320x180-2s-0.mp4 ...

A directory without a manifest is taken as it is: every video in it, of equal weight, any typed answer welcome.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from loadtest.frozen import Frozen

MANIFEST = "manifest.json"
OCTETS = "application/octet-stream"
SUFFIXES = {".mp4": "video/mp4", ".webm": "video/webm", ".mkv": "video/x-matroska", ".mov": "video/quicktime"}
SUFFIXES |= {".avi": "video/x-msvideo", ".ts": "video/mp2t", ".bin": OCTETS}


class CorpusError(ValueError):
    """A corpus that cannot be used; the message says what to change."""


class Expect(StrEnum):
    """What a clip deserves."""

    VERDICT = "verdict"
    PROBLEM = "problem"
    EITHER = "either"


class Recipe(Frozen):
    """What a generated corpus holds."""

    sizes: tuple[tuple[int, int], ...] = ((320, 180), (640, 360))
    """Width and height of the clips, pixels."""
    seconds: tuple[float, ...] = (1.0, 3.0)
    """Their lengths."""
    copies: int = Field(default=1, ge=1, le=100)
    """Clips of different pictures for each codec, size and length."""

    def digest(self) -> str:
        """Names the recipe: another one makes another corpus."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


class Clip(Frozen):
    """A line of the manifest."""

    file: str = Field(pattern=r"^[^/\\]+$")
    codec: str
    seconds: float = Field(ge=0)
    width: int = Field(ge=0)
    height: int = Field(ge=0)
    expect: Expect
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """How often it is sent, relative to the others of its expectation."""


class Manifest(Frozen):
    """``manifest.json``."""

    recipe: Recipe | None = None
    clips: tuple[Clip, ...] = Field(min_length=1)


class Corpus:
    """Clips and their bytes, read once.

    Args:
        directory: of the clips.
        manifest: what they are.

    Raises:
        CorpusError: a clip is missing, or none deserves a verdict.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        missing = [clip.file for clip in manifest.clips if not (directory / clip.file).is_file()]
        if missing:
            raise CorpusError(f"{directory}: the manifest names files that are not there: {', '.join(missing[:5])}")
        self.directory = directory
        self.good = [clip for clip in manifest.clips if clip.expect is not Expect.PROBLEM]
        self.hostile = [clip for clip in manifest.clips if clip.expect is Expect.PROBLEM]
        if not self.good:
            raise CorpusError(f"{directory}: no clip in it deserves a verdict")
        self._bytes = {clip.file: (directory / clip.file).read_bytes() for clip in manifest.clips}

    def read(self, clip: Clip) -> bytes:
        """The clip's bytes."""
        return self._bytes[clip.file]


def media_type(clip: Clip) -> str:
    """What a raw body of the clip is sent as."""
    return SUFFIXES.get(Path(clip.file).suffix.lower(), OCTETS)


def load_corpus(directory: Path) -> Corpus:
    """The corpus in ``directory``: by its manifest, else every video in it.

    Raises:
        CorpusError: there is none, or its manifest is not one.
    """
    path = directory / MANIFEST
    if path.is_file():
        try:
            return Corpus(directory, Manifest.model_validate_json(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise CorpusError(f"{path}: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from error
    names = sorted(p.name for p in directory.glob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not names:
        raise CorpusError(f"{directory}: neither a {MANIFEST} nor a video is in it")
    clips = [Clip(file=n, codec="unknown", seconds=0, width=0, height=0, expect=Expect.EITHER) for n in names]
    return Corpus(directory, Manifest(clips=tuple(clips)))


def _holds(directory: Path, recipe: Recipe) -> bool:
    """Whether the recipe's corpus is there, whole: it is moved into place only when its manifest is written."""
    path = directory / MANIFEST
    return path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("recipe") == recipe.model_dump(
        mode="json"
    )


def build_corpus(directory: Path, recipe: Recipe) -> Path:
    """``directory``, now holding the recipe's corpus; kept as it is if it already does.

    Raises:
        CorpusError: something else lies there.
    """
    if _holds(directory, recipe):
        return directory
    if directory.exists() and any(directory.iterdir()):
        raise CorpusError(f"{directory}: holds something else; name an empty directory")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as folder:
        made = Path(folder) / "corpus"
        made.mkdir()
        clips = (*_write_good(made, recipe), *_write_hostile(made))
        manifest = Manifest(recipe=recipe, clips=clips)
        (made / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        try:
            made.replace(directory)  # over an empty directory too
        except OSError:
            if not _holds(directory, recipe):  # another process was faster with the same corpus
                raise
    return directory


def _write_good(directory: Path, recipe: Recipe) -> list[Clip]:
    from loadtest.traffic.clips import CODECS, available_codecs, write_clip

    found: list[Clip] = []
    for codec in available_codecs():
        for width, height in recipe.sizes:
            for seconds in recipe.seconds:
                for copy in range(recipe.copies):
                    file = f"{codec}-{width}x{height}-{seconds:g}s-{copy}.{CODECS[codec].container}"
                    write_clip(directory / file, codec, seconds=seconds, width=width, height=height, seed=copy)
                    clip: dict[str, Any] = {"codec": codec, "seconds": seconds, "width": width, "height": height}
                    found.append(Clip(file=file, expect=Expect.VERDICT, weight=CODECS[codec].weight, **clip))
    if not found:
        raise CorpusError("PyAV can encode none of the corpus's codecs here")
    return found


def _write_hostile(directory: Path) -> list[Clip]:
    """An MP4 cut in half, random bytes, and a tone without a picture."""
    from loadtest.traffic.clips import write_audio_only, write_clip, write_garbage, write_truncated

    whole = directory / "whole"
    write_clip(whole, "mpeg4", seconds=1, width=160, height=96)
    write_truncated(directory / "hostile-truncated.mp4", whole)
    whole.unlink()
    write_garbage(directory / "hostile-garbage.bin")
    write_audio_only(directory / "hostile-audio-only.mp4")
    names = sorted(path.name for path in directory.glob("hostile-*"))
    return [Clip(file=n, codec="hostile", seconds=0, width=0, height=0, expect=Expect.PROBLEM) for n in names]
