"""A multipart body, part by part: the video into the spool, the texts into memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import MalformedBody, RepeatedField, TextTooLarge, UnknownField, UnsupportedContentType
from service.experiment.content import TEXT_FIELDS

VIDEO_FIELD = "video"
ID_FIELD = "video_id"
ACCOUNT_FIELD = "account_id"
QUERY_FIELDS = (*TEXT_FIELDS, ID_FIELD, ACCOUNT_FIELD)
FORM_FIELDS = (VIDEO_FIELD, *QUERY_FIELDS)
_PLAIN = (b"", b"binary", b"8bit", b"7bit")


class FormReader:
    """Feeds on the body's bytes and sorts them by field.

    Args:
        content_type: the request's header, which names the boundary.
        take_video: called with each run of bytes of the video.
        max_text_bytes: of each other field.

    Raises:
        MalformedBody: the header names no usable boundary.
    """

    def __init__(self, content_type: str, take_video: Callable[[memoryview], None], max_text_bytes: int) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise MalformedBody("the Content-Type of a form must name its boundary: let your HTTP library build it")
        self._take_video = take_video
        self._max_text_bytes = max_text_bytes
        self._header: dict[Literal["name", "value"], bytes] = {"name": b"", "value": b""}
        self._disposition = self._encoding = b""
        self._field: str | None = None
        self._ended = False
        self.fields: dict[str, bytearray] = {}
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begin,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._part_data,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            raise MalformedBody("the form's boundary is too long: 256 characters are enough") from None

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the body.

        Raises:
            MalformedBody, UnknownField, RepeatedField, TextTooLarge, UnsupportedContentType: the form is not one we
                take.
        """
        try:
            self._parser.write(data)
        except FormParserError:
            raise MalformedBody("the body is not the multipart form that its Content-Type announces") from None

    def finish(self) -> None:
        """Raises MalformedBody unless the closing boundary was seen."""
        if not self._ended:
            raise MalformedBody("the form ends before its closing boundary: send the whole body")

    def _part_begin(self) -> None:
        self._disposition, self._encoding, self._field = b"", b"", None

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header["name"] += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header["value"] += data[start:end]

    def _header_end(self) -> None:
        name = self._header["name"].lower()
        if name == b"content-disposition":
            self._disposition = self._header["value"]
        elif name == b"content-transfer-encoding":
            self._encoding = self._header["value"].strip().lower()
        self._header = {"name": b"", "value": b""}

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise MalformedBody("each part of the form needs a Content-Disposition with a name")
        if self._encoding not in _PLAIN:
            raise UnsupportedContentType("send the form's parts as they are: no Content-Transfer-Encoding is decoded")
        self._field = known_field(options[b"name"].decode("latin-1"), FORM_FIELDS)
        if self._field in self.fields:
            raise RepeatedField(f"the form holds {self._field} more than once: send it once")
        self.fields[self._field] = bytearray()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field == VIDEO_FIELD:
            self._take_video(memoryview(data)[start:end])
        elif self._field is not None:
            append_text(self.fields[self._field], data[start:end], self._field, self._max_text_bytes)

    def _end(self) -> None:
        self._ended = True


def known_field(name: str, known: tuple[str, ...]) -> str:
    """``name``, or UnknownField that lists what there is."""
    if name not in known:
        raise UnknownField(f"there is a field this request cannot have; it takes {', '.join(known)}")
    return name


def append_text(text: bytearray, more: bytes, field: str, max_bytes: int) -> None:
    """Grows ``text``, or raises TextTooLarge."""
    if len(text) + len(more) > max_bytes:
        raise TextTooLarge(f"{field} is over the limit of {max_bytes} bytes: send less of it")
    text += more
