"""The form reader: fields sorted however the bytes are cut; anything else refused."""

from __future__ import annotations

import pytest

from service.errors import (
    CallerError,
    MalformedBody,
    RepeatedField,
    TextTooLarge,
    UnknownField,
    UnsupportedContentType,
)
from service.stages.form import FormReader


def body(*parts: tuple[str, bytes], end: bytes = b"--B--\r\n") -> bytes:
    made = b""
    for name, value in parts:
        made += b'--B\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n' + value + b"\r\n"
    return made + end


def read(data: bytes, step: int = 7, kind: str = "multipart/form-data; boundary=B") -> tuple[bytes, dict[str, bytes]]:
    video = bytearray()
    reader = FormReader(kind, video.extend, max_text_bytes=20)
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
    reader.finish()
    return bytes(video), {name: bytes(value) for name, value in reader.fields.items()}


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_fields_are_sorted_however_the_bytes_are_cut(step: int) -> None:
    clip = bytes(range(256)) + b"\r\n--C is not the boundary\r\n"
    video, fields = read(body(("title", b"a title"), ("video", clip), ("video_id", b"7")), step)
    assert video == clip
    assert fields == {"title": b"a title", "video": b"", "video_id": b"7"}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (body(("vidoe", b"x")), UnknownField),
        (body(("title", b"x"), ("title", b"y")), RepeatedField),
        (body(("video", b"x"), ("video", b"y")), RepeatedField),
        (body(("title", b"x" * 21)), TextTooLarge),
        (body(("title", b"x"), end=b""), MalformedBody),
        (body(("video", b"x"))[:-8], MalformedBody),
        (b"not a form at all", MalformedBody),
        (b"--B\r\nContent-Type: text/plain\r\n\r\nx\r\n--B--\r\n", MalformedBody),
        (b"--B\r\nbroken header\r\n\r\nx\r\n--B--\r\n", MalformedBody),
    ],
)
def test_a_bad_form_is_refused(data: bytes, error: type[CallerError]) -> None:
    with pytest.raises(error):
        read(data)


@pytest.mark.parametrize("encoding", ["base64", "BASE64", "quoted-printable", "x-other", "8bit", "7bit", " Binary "])
@pytest.mark.parametrize("step", [1, 1000])
def test_an_encoded_part_is_refused_not_read_raw(encoding: str, step: int) -> None:
    part = f'--B\r\nContent-Transfer-Encoding:{encoding}\r\nContent-Disposition: form-data; name="title"\r\n\r\n'
    data = part.encode() + b"YSBjYXQ=\r\n" + body(("video", b"x"))
    if encoding.strip().lower() in ("8bit", "7bit", "binary"):
        assert read(data, step) == (b"x", {"title": b"YSBjYXQ=", "video": b""})
    else:
        with pytest.raises(UnsupportedContentType):
            read(data, step)


@pytest.mark.parametrize("kind", ["multipart/form-data", f"multipart/form-data; boundary={'x' * 300}"])
def test_a_bad_boundary_is_refused(kind: str) -> None:
    with pytest.raises(MalformedBody):
        read(b"x", kind=kind)


def test_a_text_of_just_the_limit_is_taken_in_one_piece_or_many() -> None:
    for step in (1, 1000):
        assert read(body(("title", b"x" * 20)), step)[1] == {"title": b"x" * 20}


def test_a_part_never_inherits_the_name_of_the_part_before() -> None:
    nameless = b"--B\r\nContent-Type: text/plain\r\n\r\nmore\r\n--B--\r\n"
    with pytest.raises(MalformedBody, match="Content-Disposition"):
        read(body(("title", b"a"), end=nameless))


def test_an_unknown_field_is_not_quoted_back() -> None:
    with pytest.raises(UnknownField) as refused:
        read(body(("private_note", b"x")))
    assert "private_note" not in refused.value.detail
    assert "overlay_text" in refused.value.detail
