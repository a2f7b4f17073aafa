"""One message over HTTP, as the service's callers would send it, through what a load balancer would do.

Connections are kept and used again. With several hosts they are taken in turn, and a message that a host cannot have
worked on (connection refused; 503 ``draining`` or ``not_ready``) goes to the next one, which is what a load balancer
in front of the pods does. A connection that breaks after the message was sent is a failure, never a retry.

Only the standard library, so that the same code runs under Locust, whose sockets are gevent's, and in threads.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from loadtest.traffic.mix import Message

ELSEWHERE = frozenset({"draining", "not_ready"})
"""Codes of a 503 from a host that takes no work now: another one may."""
REFUSED, LOST, TIMEOUT = "connection_refused", "connection_lost", "timeout"
TIMEOUT_S = 30.0
"""How long a socket may be silent, unless a run says otherwise."""
_AVOID_S = 2.0
_IDLE_LIMIT = 256


@dataclass(frozen=True)
class Reply:
    """An answer, or why there is none.

    Attributes:
        status: of HTTP; 0 without an answer.
        headers: names in lower case.
        body: whole.
        fault: what went wrong on the wire, else empty.
        left: the client hung up on purpose before an answer.
        retries: how often the message was sent again.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    fault: str = ""
    left: bool = False
    retries: int = 0

    @property
    def arm(self) -> str | None:
        """Who answered, as the service says; None: nobody did, or it does not say."""
        return self.headers.get("x-arm")

    def document(self) -> dict[str, Any]:
        """The JSON object in the body; empty if it holds none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def connection_to(url: str, timeout_s: float) -> http.client.HTTPConnection:
    """A connection to the URL's host, not yet made; no proxy of the environment comes between."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=timeout_s)


class Exchange:
    """Sends messages.

    Args:
        hosts: base URLs.
        timeout_s: how long a socket may be silent.
        clock: monotonic seconds.
    """

    def __init__(
        self, hosts: Sequence[str], *, timeout_s: float = TIMEOUT_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hosts = list(hosts)
        self._timeout_s = timeout_s
        self._clock = clock
        self._next = 0
        self._avoid_until = dict.fromkeys(self._hosts, float("-inf"))
        self._idle: dict[str, deque[http.client.HTTPConnection]] = {h: deque(maxlen=_IDLE_LIMIT) for h in self._hosts}

    def send(self, message: Message) -> Reply:
        """The answer to ``message``, of the first host that could work on it."""
        retries = 0
        while True:
            host = self._pick()
            reply = self._once(host, message)
            unworked = reply.fault == REFUSED or (reply.status == 503 and reply.document().get("code") in ELSEWHERE)
            if unworked:
                self._avoid_until[host] = self._clock() + _AVOID_S
            if not unworked or retries + 1 >= len(self._hosts):
                return replace(reply, retries=retries)
            retries += 1

    def close(self) -> None:
        """Closes the connections that are kept."""
        for kept in self._idle.values():
            while kept:
                kept.pop().close()

    def _pick(self) -> str:
        """The next host in turn that did not just turn work away; any, if all did."""
        now = self._clock()
        for _ in self._hosts:
            host = self._hosts[self._next % len(self._hosts)]
            self._next += 1
            if self._avoid_until[host] <= now:
                return host
        return min(self._hosts, key=self._avoid_until.__getitem__)

    def _connection(self, host: str) -> http.client.HTTPConnection:
        """A kept connection that the host has not closed meanwhile, else a new one."""
        kept = self._idle[host]
        while kept:
            connection = kept.pop()
            if connection.sock is not None and not _readable(connection.sock):
                return connection
            connection.close()
        connection = connection_to(host, self._timeout_s)
        connection.connect()
        return connection

    def _once(self, host: str, message: Message) -> Reply:
        try:
            connection = self._connection(host)
        except TimeoutError:
            return Reply(0, fault=TIMEOUT)
        except OSError:
            return Reply(0, fault=REFUSED)
        try:
            reply = self._talk(connection, message, urlsplit(host).path.rstrip("/"))
        except TimeoutError:
            reply = Reply(0, fault=TIMEOUT)
        except (OSError, http.client.HTTPException):
            reply = Reply(0, fault=LOST)
        if reply.status and not reply.left and connection.sock is not None:
            self._idle[host].append(connection)
        else:
            connection.close()
        return reply

    def _talk(self, connection: http.client.HTTPConnection, message: Message, prefix: str) -> Reply:
        connection.putrequest("POST", prefix + message.path, skip_accept_encoding=True)
        connection.putheader("Content-Type", message.content_type)
        connection.putheader("Content-Length", str(len(message.body)))
        connection.endheaders()
        if message.send_share < 1:
            connection.send(message.body[: int(len(message.body) * message.send_share)])
            return Reply(0, left=True)
        # A host may refuse before it has read the body, and close: what it said is still there to be read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(message.body)
        if message.leave_s is not None and not _readable(connection.sock, message.leave_s):
            return Reply(0, left=True)
        response = connection.getresponse()
        body = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        if response.will_close:
            connection.close()
        return Reply(response.status, headers, body)


def _readable(sock: Any, wait_s: float = 0.0) -> bool:
    """Whether the peer has sent something, or closed, within ``wait_s``."""
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(int(wait_s * 1000)))
