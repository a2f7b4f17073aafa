"""What a logged decision needs to be made again, and what of it lacks.

The log knows a video by its SHA-256 and keeps no texts. Videos lie in a directory, under any name; one whose name is
its digest, or the caller's id of it, is known to have been altered where its bytes are others. Texts come in a file of
JSON lines, ``{"media": SHA-256 or null, "title": ..., "overlay_text": ...}``, of exactly the fields that were sent: the
content digest tells which decision they belong to. A request without texts needs no line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from contract.bundle import Bundle, file_digest, read_bundle
from contract.decision_log import Decision, Exposure, name_hash
from contract.errors import BundleError
from service.experiment.content import TEXT_FIELDS, content_digest


class Lacking(Exception):
    """The decision cannot be made again.

    Attributes:
        why: one of the report's outcomes.
        detail: for people.
    """

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail)
        self.why = why
        self.detail = detail


@dataclass(frozen=True)
class Evidence:
    """All that a decision was made of.

    Attributes:
        bundle: of the arm.
        video: the file; None where none was sent.
        texts: field -> text.
    """

    bundle: Bundle
    video: Path | None
    texts: dict[str, str]


class Bundles:
    """Bundles by digest.

    Args:
        directories: of bundles.

    Attributes:
        refused: directory -> why its bundle is none that may be served.
    """

    def __init__(self, directories: Iterable[Path]) -> None:
        self.refused: dict[str, str] = {}
        self.by_digest: dict[str, Bundle] = {}
        for directory in directories:
            try:
                bundle = read_bundle(directory)
                for role in bundle.manifest.graphs:
                    bundle.graph(role)
            except BundleError as error:
                self.refused[str(directory)] = str(error)
            else:
                self.by_digest[bundle.digest] = bundle

    def find(self, digest: str) -> Bundle:
        """Raises Lacking."""
        if digest in self.by_digest:
            return self.by_digest[digest]
        refused = f" (refused: {'; '.join(self.refused.values())})" if self.refused else ""
        given = ", ".join(found[:12] for found in self.by_digest) or "none"
        raise Lacking("other_bundle", f"it was made by {digest[:12]}, given are {given}{refused}")


class Media:
    """Videos by digest.

    Args:
        directory: of the files, at any depth.
    """

    def __init__(self, directory: Path) -> None:
        self._files = sorted(path for path in directory.rglob("*") if path.is_file())
        self._named = {path.stem: path for path in self._files}
        self._by_digest: dict[str, Path] | None = None
        self._by_name_hash: dict[str, Path] = {}

    def find(self, digest: str, video_hash: str | None) -> Path:
        """The file of the digest; its name, if it bears one, is not believed.

        Raises:
            Lacking: there is none, or it was altered.
        """
        named = self._named.get(digest)
        if named is not None:
            if (actual := file_digest(named)) != digest:
                raise Lacking("media_altered", f"{named.name}: its SHA-256 is {actual[:12]}")
            return named
        if self._by_digest is None:  # all are read once, and only where names do not say
            self._by_digest = {file_digest(path): path for path in self._files}
            self._by_name_hash = {name_hash(path.stem): path for path in self._files}
        if digest in self._by_digest:
            return self._by_digest[digest]
        if video_hash is not None and (claimed := self._by_name_hash.get(video_hash)):
            raise Lacking("media_altered", f"{claimed.name}: its SHA-256 is {file_digest(claimed)[:12]}")
        raise Lacking("media_missing", f"no file has the SHA-256 {digest[:12]}")


class Texts:
    """Texts by the content digest of their request.

    Args:
        file: of JSON lines; None: there are none.

    Raises:
        ValueError: a line is not what it should be.
    """

    def __init__(self, file: Path | None) -> None:
        self._by_content: dict[str, dict[str, str]] = {}
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines() if file else (), 1):
            given = json.loads(line)
            media = given.pop("media", None)
            if not set(given) <= set(TEXT_FIELDS) or not all(isinstance(text, str) for text in given.values()):
                raise ValueError(f"{file}, line {number}: give media, and of {', '.join(TEXT_FIELDS)} what was sent")
            self._by_content[content_digest(media, given)] = given

    def find(self, exposure: Exposure) -> dict[str, str]:
        """Raises Lacking."""
        if exposure.media_digest is not None and content_digest(exposure.media_digest, {}) == exposure.content_digest:
            return {}
        if exposure.content_digest not in self._by_content:
            raise Lacking("texts_missing", f"no line of texts has the content digest {exposure.content_digest[:12]}")
        return self._by_content[exposure.content_digest]


def gather(decision: Decision, exposure: Exposure | None, bundles: Bundles, media: Media, texts: Texts) -> Evidence:
    """Everything the decision was made of. Raises Lacking."""
    bundle = bundles.find(decision.bundle_digest)
    if exposure is None:
        raise Lacking("exposure_missing", "the log does not say what it was a decision on")
    found = texts.find(exposure)
    if exposure.media_digest is None:
        return Evidence(bundle, None, found)
    return Evidence(bundle, media.find(exposure.media_digest, exposure.video_hash), found)
