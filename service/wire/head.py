"""A request's head as it comes from the parser: bounded, then an ASGI scope."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

import httptools

from service.errors import BadRequest, HeadTooLarge
from service.settings import ConnectionSettings

_FIELD_SIGNS = 4
"""Colon, blank and the end of the line."""
_BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding"})


class Head:
    """Request line and header fields.

    Args:
        settings: the bounds.

    Attributes:
        size: bytes so far, about.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        self._url = b""
        self.size = 0
        self._fields: list[tuple[bytes, bytes]] = []

    def add_url(self, url: bytes) -> None:
        self._url += url
        self.size += len(url)

    def add(self, name: bytes, value: bytes) -> None:
        """Takes a field, or raises HeadTooLarge."""
        self._fields.append((name.lower(), value))
        self.size += len(name) + len(value) + _FIELD_SIGNS
        if len(self._fields) > self._settings.max_headers:
            raise HeadTooLarge(f"send at most {self._settings.max_headers} headers")

    def check(self, received: int, upgrade: bool = False) -> None:
        """The bounds, against the bytes that came without an end of the head, or against the whole of it.

        Raises:
            HeadTooLarge: over ``max_head_bytes``.
            BadRequest: a body behind an upgrade, which the parser would pass over.
        """
        if max(received, self.size) > self._settings.max_head_bytes:
            raise HeadTooLarge(f"send at most {self._settings.max_head_bytes} bytes of headers")
        if upgrade and _BODY_HEADERS & {name for name, _ in self._fields}:
            raise BadRequest("send the request without Upgrade: this service speaks HTTP/1.1")

    @property
    def expects_continue(self) -> bool:
        return any(name == b"expect" and value.lower() == b"100-continue" for name, value in self._fields)

    def scope(
        self, parser: httptools.HttpRequestParser, transport: asyncio.Transport, state: dict[str, Any]
    ) -> dict[str, Any]:
        """The request as ASGI has it."""
        parsed = httptools.parse_url(self._url)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": parser.get_http_version(),
            "server": _address(transport.get_extra_info("sockname")),
            "client": _address(transport.get_extra_info("peername")),
            "scheme": "http",
            "method": parser.get_method().decode("ascii"),
            "root_path": "",
            "path": unquote(parsed.path.decode("ascii")),
            "raw_path": parsed.path,
            "query_string": parsed.query or b"",
            "headers": self._fields,
            "state": state.copy(),
        }


def _address(name: tuple[Any, ...]) -> tuple[str, int]:
    """Host and port; an IPv4 caller of a socket for both families is an IPv4 caller."""
    return str(name[0]).removeprefix("::ffff:"), int(name[1])
