"""A stand-in for the service: two arms, sticky by id, one of which can be made slow; and replies by script."""

from __future__ import annotations

import json
import re
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ARMS = ("baseline", "student")


@dataclass
class Stub:
    """What the stub does, and what it saw.

    Attributes:
        delay_s: arm -> seconds before it answers.
        script: answers instead of verdicts, used up one by one: status, headers, body.
        bodies: whole bodies it was sent.
    """

    url: str = ""
    delay_s: Mapping[str, float] = field(default_factory=dict)
    script: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0


def problem(code: str, status: int, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """An answer as the service's problems are."""
    body = json.dumps({"code": code, "status": status, "detail": "change it"}).encode()
    return status, {"Content-Type": "application/problem+json"} | headers, body


def verdict(arm: str) -> tuple[int, dict[str, str], bytes]:
    """An answer as the service's verdicts are."""
    body = json.dumps({"arm": arm, "tasks": {"violence": {"flagged": False}}}).encode()
    return 200, {"Content-Type": "application/json", "X-Arm": arm}, body


@contextmanager
def stub_service(**options: Any) -> Iterator[Stub]:
    """A running stub."""
    stub = Stub(**options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            stub.connections += 1

        def do_GET(self) -> None:
            self._answer(200 if self.path == "/readyz" else 404, {}, b"{}")

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:  # the client left
                self.close_connection = True
                return
            stub.bodies.append(body)
            self._answer(*(stub.script.pop(0) if stub.script else self._verdict(body)))

        def _verdict(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            named = re.search(rb'name="video_id"\r\n\r\n(.*?)\r\n', body)
            query = parse_qs(urlsplit(self.path).query).get("video_id", [""])[0].encode()
            arm = ARMS[zlib.crc32(named[1] if named else query) % 2]
            time.sleep(stub.delay_s.get(arm, 0.0))
            return verdict(arm)

        def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            if status == 0:  # break the connection
                self.close_connection = True
                return
            try:
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 256

        def handle_error(self, *_: Any) -> None:
            """A client that leaves is no error of the stub's."""

    with Server(("127.0.0.1", 0), Handler) as server:
        stub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()
