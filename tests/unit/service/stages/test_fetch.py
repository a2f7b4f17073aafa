"""Fetch: a body is taken up to its limits and no further, streamed to the spool, and given up in time."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import pytest
from starlette.requests import Request

from contract.errors import EmptyMedia, InvalidText, NoInput
from service.context import RequestContext
from service.errors import (
    BadRequest,
    BodyTooLarge,
    CallerError,
    ClientGone,
    EmptyBody,
    InvalidField,
    RepeatedField,
    TextTooLarge,
    UnknownField,
    UnsupportedContentType,
    UploadStalled,
)
from service.metrics import Metrics
from service.settings import BodySettings, UploadSettings
from service.stages.fetch import Upload, declared_bytes, fetch
from service.stages.spool import Spool
from service.wire.uploads import Uploading, Uploads

SETTINGS = BodySettings(max_media_bytes=1000, max_text_bytes=20)
FORM = "multipart/form-data; boundary=B"
Receive = Callable[[], Awaitable[dict[str, Any]]]


def form(**fields: bytes) -> bytes:
    parts = [
        b'--B\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n' + value + b"\r\n"
        for name, value in fields.items()
    ]
    return b"".join(parts) + b"--B--\r\n"


def request(receive: Receive | None = None, *, query: str = "", **headers: str) -> Request:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "headers": named, "query_string": query.encode()}
    return Request(scope, receive) if receive else Request(scope)


def permit(settings: BodySettings = SETTINGS) -> Uploading:
    return Uploads(UploadSettings(), settings.stall_seconds, lambda: None, Metrics()).admit("peer", 0)


def sends(chunks: Iterable[bytes]) -> Receive:
    """A client that sends these, then nothing more."""
    coming: Iterator[bytes] = iter(chunks)

    async def receive() -> dict[str, Any]:
        chunk = next(coming, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    return receive


async def _fetch(asked: Request, context: RequestContext, spool: Spool, settings: BodySettings) -> Upload:
    """With a permit of its own."""
    uploads = Uploads(UploadSettings(), settings.stall_seconds, lambda: None, Metrics())
    with uploads.admit("peer", 0) as permit:
        return await fetch(asked, context, spool, settings, permit)


def fetched(
    chunks: Iterable[bytes], kind: str = FORM, *, query: str = "", settings: BodySettings = SETTINGS, **headers: str
) -> tuple[Upload, bytes]:
    """The upload, and what is in the spool."""
    context = RequestContext("r", deadline=time.monotonic() + 60)

    async def run() -> tuple[Upload, bytes]:
        with Spool(None, settings.max_media_bytes) as spool:
            asked = request(
                sends(chunks), query=query, content_type=kind, **({"transfer_encoding": "chunked"} | headers)
            )
            upload = await _fetch(asked, context, spool, settings)
            assert context.body_read.is_set()
            return upload, os.pread(spool.fileno(), 1 << 20, 0)

    return asyncio.run(run())


def test_a_form_becomes_an_upload() -> None:
    body = form(title=b"a title", video=b"clip", overlay_text=b"", video_id=b"7")
    upload, stored = fetched([body[:50], body[50:]])
    assert stored == b"clip"
    assert (upload.has_video, upload.size, upload.video_id) == (True, len(body), "7")
    assert upload.texts == {"title": "a title", "overlay_text": ""}
    assert upload.digest == hashlib.sha256(b"clip").hexdigest()
    assert upload.units.of("video_id") == ("video_id", "7")


@pytest.mark.parametrize("kind", ["video/mp4", "application/octet-stream", "Video/X; charset=none"])
def test_a_raw_body_takes_its_texts_from_the_query(kind: str) -> None:
    upload, stored = fetched([b"cl", b"ip"], kind, query="title=a+b&overlay_text=&video_id=%C3%A4")
    assert (stored, upload.size, upload.video_id) == (b"clip", 4, "ä")
    assert upload.texts == {"title": "a b", "overlay_text": ""}
    assert upload.has_video


def test_without_an_id_the_content_is_what_sticks_to_an_arm() -> None:
    upload, _ = fetched([b"clip"], "video/mp4")
    assert upload.units.of("video_id") == ("content", hashlib.sha256(b"clip").hexdigest())


def test_texts_that_differ_in_wording_or_place_have_other_digests() -> None:
    bodies = [
        {"title": b"a", "overlay_text": b"b"},
        {"title": b"b", "overlay_text": b"a"},
        {"title": b"ab"},
        {"overlay_text": b"ab"},
        {"title": b"a b"},
        {"title": b"b"},
    ]
    digests = [fetched([form(**body)])[0].digest for body in bodies]
    assert len(set(digests)) == len(bodies)
    assert fetched([form(overlay_text=b"b", title=b"a")])[0].digest == digests[0]
    assert fetched([form(title=b"ab", overlay_text=b"")])[0].digest == digests[2]


def test_a_body_of_just_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    limit = SETTINGS.max_body_bytes
    frame = form(title=b"t")
    padding = b"\r\n" * ((limit - len(frame)) // 2)
    exact = frame + padding + b"\r" * (limit - len(frame) - len(padding))
    assert fetched([exact])[0].size == limit
    with pytest.raises(BodyTooLarge, match=str(limit)):
        fetched([exact, b"\n"])


def test_a_declared_length_is_believed_up_to_the_limit() -> None:
    limit = SETTINGS.max_body_bytes
    assert declared_bytes(request(content_length=str(limit)), SETTINGS) == limit
    assert declared_bytes(request(content_length="7"), SETTINGS) == 7
    assert declared_bytes(request(transfer_encoding="chunked"), SETTINGS) == limit
    for wrong in ("many", "-1", "0" * 5000):
        with pytest.raises(BadRequest):
            declared_bytes(request(content_length=wrong), SETTINGS)
    with pytest.raises(BodyTooLarge, match=str(limit)):
        declared_bytes(request(content_length=str(limit + 1)), SETTINGS)


def test_a_text_of_just_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    assert len(fetched([form(title=b"x" * 20)])[0].texts["title"]) == 20
    assert len(fetched([b"clip"], "video/mp4", query="title=" + "x" * 20)[0].texts["title"]) == 20
    with pytest.raises(TextTooLarge, match="title"):
        fetched([form(title=b"x" * 21)])
    with pytest.raises(TextTooLarge, match="title"):
        fetched([b"clip"], "video/mp4", query="title=" + "x" * 21)


@pytest.mark.parametrize("kind", [FORM, "video/mp4"])
def test_a_video_reaches_the_disk_while_it_is_still_coming(kind: str) -> None:
    settings = BodySettings()
    piece, pieces = b"x" * (256 << 10), 24
    head = b'--B\r\nContent-Disposition: form-data; name="video"\r\n\r\n' if kind == FORM else b""

    async def run() -> Upload:
        with Spool(None, settings.max_media_bytes) as spool:

            def coming() -> Iterator[bytes]:
                yield head
                for sent in range(pieces):
                    waiting = sent * len(piece) - os.fstat(spool.fileno()).st_size
                    assert waiting < 1.5 * (1 << 20), "held in memory"
                    yield piece
                yield b"\r\n--B--\r\n" if kind == FORM else b""

            asked = request(sends(coming()), content_type=kind, transfer_encoding="chunked")
            return await _fetch(asked, RequestContext("r", deadline=time.monotonic() + 60), spool, settings)

    assert asyncio.run(run()).digest == hashlib.sha256(piece * pieces).hexdigest()


@pytest.mark.parametrize(
    ("body", "kind", "query", "error"),
    [
        (form(title=b"\xff"), FORM, "", InvalidText),
        (b"clip", "video/mp4", "title=%FF", InvalidText),
        (form(title=b"  "), FORM, "", NoInput),
        (form(video_id=b"7"), FORM, "", NoInput),
        (form(video=b""), FORM, "", EmptyMedia),
        (form(video=b"", title=b"t"), FORM, "", EmptyMedia),
        (form(title=b"t", video_id=b"a\nb"), FORM, "", InvalidField),
        (b"clip", "video/mp4", "video_id=" + "x" * 257, TextTooLarge),
        (form(title=b"t"), FORM, "title=t", UnknownField),
        (b"clip", "video/mp4", "titel=t", UnknownField),
        (b"clip", "video/mp4", "video=t", UnknownField),
        (b"clip", "video/mp4", "title=t&title=t", RepeatedField),
        (b"", "video/mp4", "", EmptyBody),
        (b"", FORM, "", EmptyBody),
        (b"{}", "application/json", "", UnsupportedContentType),
        (b"clip", "", "", UnsupportedContentType),
    ],
)
def test_what_cannot_be_classified_is_refused(body: bytes, kind: str, query: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        fetched([body], kind, query=query)


@pytest.mark.parametrize("name", ["x" * 256, "a b", "ä"])
def test_a_video_id_may_be_any_printable_name(name: str) -> None:
    settings = BodySettings(max_media_bytes=1000, max_text_bytes=1000)
    assert fetched([form(title=b"t", video_id=name.encode())], settings=settings)[0].video_id == name
    with pytest.raises(InvalidField, match="256"):
        fetched([form(title=b"t", video_id=b"x" * 257)], settings=settings)


@pytest.mark.parametrize(
    "headers",
    [{}, {"content_length": "0"}, {"content_length": "000"}, {"content_length": "0", "transfer_encoding": "x"}],
)
def test_headers_that_announce_no_body_are_enough_to_refuse(headers: dict[str, str]) -> None:
    with pytest.raises(EmptyBody):
        declared_bytes(request(content_type=FORM, **headers), SETTINGS)


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_a_compressed_body_is_refused(coding: str) -> None:
    with pytest.raises(UnsupportedContentType, match="uncompressed"):
        fetched([b"clip"], "video/mp4", content_encoding=coding)
    assert fetched([b"clip"], "video/mp4", content_encoding=" Identity ")[0].size == 4


async def _never() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


async def _gone() -> dict[str, Any]:
    return {"type": "http.disconnect"}


@pytest.mark.parametrize(
    ("receive", "deadline_s", "error"),
    [(_never, 0.01, UploadStalled), (_gone, 60.0, ClientGone)],
)
def test_a_body_that_does_not_come_is_given_up_for_the_right_reason(
    receive: Receive, deadline_s: float, error: type[CallerError]
) -> None:
    settings = BodySettings()

    async def run() -> None:
        context = RequestContext("r", deadline=time.monotonic() + deadline_s)
        with Spool(None, 10) as spool:
            asked = request(receive, content_type="video/mp4", transfer_encoding="chunked")
            async with asyncio.timeout(20):
                await _fetch(asked, context, spool, settings)

    with pytest.raises(error):
        asyncio.run(run())


def test_messages_may_leave_out_what_they_have_nothing_of() -> None:
    """As ASGI allows: neither ``body`` nor ``more_body`` need be there."""
    messages = iter([{"type": "http.request", "more_body": True}, {"type": "http.request", "body": b"clip"}])

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def run() -> None:
        with Spool(None, 10) as spool:
            asked = request(receive, content_type="video/mp4", transfer_encoding="chunked")
            upload = await _fetch(asked, RequestContext("r", deadline=time.monotonic() + 60), spool, BodySettings())
            assert upload.spool is spool
            assert os.pread(upload.spool.fileno(), 10, 0) == b"clip"

    asyncio.run(run())


def test_the_digest_of_texts_stays_what_it_is() -> None:
    """It decides on the arm of who sends no id: another one would deal callers anew."""
    found = fetched([form(title=b"a", overlay_text=b"b")])[0].digest
    assert found == hashlib.sha256(b"title=a\0overlay_text=b").hexdigest()
    assert fetched([form(overlay_text=b"b")])[0].digest == hashlib.sha256(b"title=\0overlay_text=b").hexdigest()
