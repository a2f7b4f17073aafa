"""Fetch: the request's body -> an Upload, streamed to the spool and never held whole in memory."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request

from contract.errors import EmptyMedia, InvalidText, NoInput
from service.context import RequestContext
from service.errors import (
    EmptyBody,
    InvalidField,
    RepeatedField,
    TextTooLarge,
    UnknownField,
    UnsupportedContentType,
)
from service.experiment.content import TEXT_FIELDS, texts_digest
from service.experiment.plan import Units
from service.settings import BodySettings
from service.stages.form import ACCOUNT_FIELD, ID_FIELD, QUERY_FIELDS, VIDEO_FIELD, FormReader, known_field
from service.stages.spool import Spool
from service.wire.body import BodyBounds, body_chunks, declared_length
from service.wire.uploads import Uploading

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,256}")


@dataclass(frozen=True)
class Upload:
    """What a caller sent.

    Attributes:
        has_video: whether ``spool`` holds a video.
        spool: the video; closed by whoever opened it.
        texts: field name -> text, only of the fields that were sent.
        video_id: the caller's name of the clip, or None.
        account_id: his name of whoever uploaded it, or None.
        digest: SHA-256, in hex, of the video's bytes; of the texts where there is no video.
        size: bytes of the whole body.
    """

    has_video: bool
    spool: Spool
    texts: Mapping[str, str]
    video_id: str | None
    account_id: str | None
    digest: str
    size: int

    @property
    def units(self) -> Units:
        """What it may stick to an arm by."""
        return Units(self.digest, self.video_id, self.account_id)


def declared_bytes(request: Request, settings: BodySettings) -> int:
    """What the body may hold; see ``declared_length``."""
    return declared_length(request, _bounds(settings))


async def fetch(
    request: Request, context: RequestContext, spool: Spool, settings: BodySettings, permit: Uploading
) -> Upload:
    """The upload in ``request``, its video flushed to ``spool``.

    Raises:
        CallerError: see ``service.errors``: the body is not one we take, or it does not come.
        EmptyMedia, NoInput, InvalidText: what it holds cannot be classified.
        StorageExhausted: there is no room for it.
        ClientGone: the caller went away on the way.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedContentType("send the body uncompressed: this service reads no Content-Encoding")
    async with permit.paced(context.deadline - time.monotonic()):
        chunks = body_chunks(request, _bounds(settings), permit)
        if kind == "multipart/form-data":
            if request.scope["query_string"]:
                raise UnknownField("a form carries every field in its body: send no query parameters with it")
            fields, has_video, size = await _read_form(request, chunks, spool, settings)
        elif kind.startswith("video/") or kind == "application/octet-stream":
            fields = _query_fields(request.scope["query_string"], settings)
            has_video, size = True, await _read_raw(chunks, spool)
        else:
            raise UnsupportedContentType(
                "send multipart/form-data, or the video alone as video/* or application/octet-stream"
            )
    context.body_read.set()
    await spool.flush(final=True)
    return _upload(fields, has_video, size, spool)


async def _read_form(
    request: Request, chunks: AsyncIterator[bytes], spool: Spool, settings: BodySettings
) -> tuple[dict[str, bytes], bool, int]:
    reader = FormReader(request.headers["content-type"], spool.add, settings.max_text_bytes)
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        reader.feed(chunk)
        await spool.flush()
    if size == 0:
        raise EmptyBody("the body is empty: send a form with video, title or overlay_text")
    reader.finish()
    fields = {name: bytes(value) for name, value in reader.fields.items() if name != VIDEO_FIELD}
    return fields, VIDEO_FIELD in reader.fields, size


async def _read_raw(chunks: AsyncIterator[bytes], spool: Spool) -> int:
    async for chunk in chunks:
        spool.add(chunk)
        await spool.flush()
    if spool.size == 0:
        raise EmptyBody("the body is empty: send the video's bytes")
    return spool.size


def _query_fields(query: bytes, settings: BodySettings) -> dict[str, bytes]:
    fields: dict[str, bytes] = {}
    # Bytes that are no UTF-8 must reach the same refusal as in a form, so they are carried through, not replaced.
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape"):
        if known_field(name, QUERY_FIELDS) in fields:
            raise RepeatedField(f"the query holds {name} more than once: send it once")
        fields[name] = value.encode("utf-8", "surrogateescape")
        if len(fields[name]) > settings.max_text_bytes:
            raise TextTooLarge(f"{name} is over the limit of {settings.max_text_bytes} bytes: send less of it")
    return fields


def _upload(fields: Mapping[str, bytes], has_video: bool, size: int, spool: Spool) -> Upload:
    if has_video and spool.size == 0:
        raise EmptyMedia("the video is empty: send the file's bytes, or leave the field out")
    texts = {name: _unicode(name, fields[name]) for name in TEXT_FIELDS if name in fields}
    if not has_video and not any(text.strip() for text in texts.values()):
        raise NoInput("send a video, a text, or both: this request has neither")
    video_id, account_id = (_name(field, fields) for field in (ID_FIELD, ACCOUNT_FIELD))
    digest = spool.digest() if has_video else texts_digest(texts)
    return Upload(has_video, spool, texts, video_id, account_id, digest, size)


def _name(field: str, fields: Mapping[str, bytes]) -> str | None:
    """The caller's name of something; None where it sends none, or an empty one."""
    if not fields.get(field):
        return None
    name = _unicode(field, fields[field])
    if not _NAME.fullmatch(name):
        raise InvalidField(f"{field} must be 1 to 256 characters without control characters")
    return name


def _unicode(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidText(f"{name} is not valid UTF-8 text") from None


def _bounds(settings: BodySettings) -> BodyBounds:
    return BodyBounds(
        settings.max_body_bytes,
        if_empty="send a form with video, title or overlay_text, or the video's bytes",
        if_larger="send a smaller rendition",
    )
