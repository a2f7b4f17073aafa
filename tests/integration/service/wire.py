"""Raw sockets to a service under test: what no HTTP library would send."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.integration.service.conftest import Running

PATIENCE_S = 20.0
"""Far more than anything under test takes: what needs it has failed."""


def connect(service: Running) -> socket.socket:
    host, port = service.url.removeprefix("http://").rsplit(":", 1)
    return socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S)


def post_head(length: int | None, *, path: str = "/classify", kind: str = "video/mp4", **headers: str) -> bytes:
    """The head of a POST; of a chunked body where its length is None."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n{framing}\r\n{more}\r\n".encode()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    interim: int = 0
    """Answers of 1xx that came before."""

    @property
    def code(self) -> str:
        """Of a problem."""
        assert self.headers["content-type"] == "application/problem+json", self
        found: dict[str, Any] = json.loads(self.body)
        return str(found["code"])


def read_answer(connection: socket.socket) -> Answer | None:
    """The next final answer; None where the connection ended before one began."""
    interim = 0
    while True:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            with contextlib.suppress(ConnectionResetError):
                byte = connection.recv(1)
                head += byte
                if byte:
                    continue
            assert not head, head
            return None
        first, *lines = head.decode().split("\r\n")
        status = int(first.split()[1])
        if status < 200:
            interim += 1
            continue
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        body = b""
        while len(body) < int(headers["content-length"]):
            more = connection.recv(65_536)
            assert more, (head, body)
            body += more
        return Answer(status, headers, body, interim)


def ends(connection: socket.socket) -> bool:
    """Whether the service closes the connection, within the test's patience; what it still says is passed over."""
    try:
        while connection.recv(65_536):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def pour(connection: socket.socket, data: bytes, most: int) -> int:
    """Sends ``data`` again and again until the service ends the connection or ``most`` bytes were taken."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < most:
            sent += connection.send(data)
    return sent


def metric(service: Running, name: str) -> float:
    """A sample's value, 0 where it is not there yet; ``name`` with its labels."""
    with urlopen(f"{service.url}/metrics", timeout=PATIENCE_S) as reply:
        lines = reply.read().decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name} ")), 0.0)


def memory_mb(service: Running) -> float:
    return int(Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]) * 4096 / 1e6


@contextlib.contextmanager
def many(service: Running, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that say nothing."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connect(service)) for _ in range(count)]
