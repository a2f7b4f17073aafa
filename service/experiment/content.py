"""What makes two uploads the same content: the video's bytes and the texts, not the caller's name for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

TEXT_FIELDS = ("title", "overlay_text")


def texts_digest(texts: Mapping[str, str]) -> str:
    """SHA-256, in hex, of texts alone: what stands for the video's where there is none."""
    joined = b"\0".join(f"{name}={texts.get(name, '')}".encode() for name in TEXT_FIELDS)
    return hashlib.sha256(joined).hexdigest()


def content_digest(media_digest: str | None, texts: Mapping[str, str]) -> str:
    """SHA-256, in hex, of a video and its texts.

    Args:
        media_digest: SHA-256, in hex, of the video's bytes; None: there is none.
        texts: field -> text, of the fields that were sent, empty ones included.
    """
    digest = texts_digest(texts) if media_digest is None else media_digest
    joined = b"\0".join(f"{name}={text}".encode() for name, text in sorted(texts.items()))
    return hashlib.sha256(f"{media_digest is not None}:{digest}\0".encode() + joined).hexdigest()
