"""A request's body: how long it says it is, and its chunks, counted. What is slow about them is the permit's to end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import Request

from service.errors import BadRequest, BodyTooLarge, ClientGone, EmptyBody
from service.wire.uploads import Uploading

_LENGTH_DIGITS = 18


@dataclass(frozen=True)
class BodyBounds:
    """What a route takes.

    Attributes:
        most_bytes: the largest body.
        if_empty: what to send, for one who sent nothing.
        if_larger: what to do, for one who sent more.
    """

    most_bytes: int
    if_empty: str
    if_larger: str

    def too_large(self) -> BodyTooLarge:
        """The refusal of a body over the limit."""
        return BodyTooLarge(f"the body is over the limit of {self.most_bytes} bytes: {self.if_larger}")

    def empty(self) -> EmptyBody:
        """The refusal of a body without a byte."""
        return EmptyBody(f"the body is empty: {self.if_empty}")


def declared_length(request: Request, bounds: BodyBounds) -> int:
    """What the body may hold: its Content-Length, or the limit if that is not declared.

    Raises:
        EmptyBody: it declares that there is none.
        BadRequest: what it declares is no length.
        BodyTooLarge: it declares more than the limit.
    """
    header = request.headers.get("content-length")
    length = bounds.most_bytes
    if header is not None:
        if not (header.isascii() and header.isdecimal() and len(header) <= _LENGTH_DIGITS):
            raise BadRequest(f"Content-Length is a whole number of at most {_LENGTH_DIGITS} digits")
        length = int(header)
    if length == 0 or (header is None and "transfer-encoding" not in request.headers):
        raise bounds.empty()
    if length > bounds.most_bytes:
        raise bounds.too_large()
    return length


async def body_chunks(request: Request, bounds: BodyBounds, permit: Uploading) -> AsyncIterator[bytes]:
    """The body's chunks, none of them empty.

    Raises:
        BodyTooLarge: they are more than the limit.
        ClientGone: the caller went away on the way.
    """
    total, more = 0, True
    while more:
        with permit.awaited():
            message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client closed the connection")
        chunk, more = message.get("body", b""), message.get("more_body", False)
        total += len(chunk)
        permit.received(len(chunk))
        if total > bounds.most_bytes:
            raise bounds.too_large()
        if chunk:
            yield chunk
