"""What a stranger does with sockets: slowly, without end, halfway, too many. No clip here is hostile."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator

from benchmarks.chaos.registry import Target, scenario

_CHUNK = 65_536


def _connect(target: Target, timeout_s: float = 10.0) -> socket.socket:
    return socket.create_connection((target.host, target.port), timeout=timeout_s)


def _post(length: int | None, path: str = "/classify", kind: str = "video/mp4") -> bytes:
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n".encode()


def _answered(connection: socket.socket) -> str:
    """``answered STATUS`` of the next answer, ``end`` where the connection ends, ``silence`` where it does neither."""
    try:
        said = connection.recv(_CHUNK)
        while said.startswith(b"HTTP/1.1 1"):
            said = said.partition(b"\r\n\r\n")[2] or connection.recv(_CHUNK)
    except TimeoutError:
        return "silence"
    except OSError:
        return "end"
    return f"answered {said.split(None, 2)[1].decode()}" if said else "end"


def _again(target: Target, counts: Counter[str], once: Callable[[socket.socket], None]) -> Counter[str]:
    """Connects and does it again and again until the time is over."""
    while time.monotonic() < target.until:
        counts["connections"] += 1
        try:
            with _connect(target) as connection:
                once(connection)
        except OSError as error:
            counts[f"end {errno.errorcode.get(error.errno or 0, 'timeout')}"] += 1
            time.sleep(0.01)
    return counts


@contextlib.contextmanager
def _held(target: Target, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        held = []
        for _ in range(count):
            with contextlib.suppress(OSError):
                held.append(stack.enter_context(_connect(target)))
        yield held


@scenario("slow-uploads", "64 sockets send a byte of a body every 4 s, and come again when they are ended")
def slow_uploads(target: Target) -> Counter[str]:
    counts: Counter[str] = Counter()
    open_: dict[socket.socket, float] = {}
    with selectors.DefaultSelector() as ended:
        while time.monotonic() < target.until:
            while len(open_) < 64:
                try:
                    made = _connect(target)
                    made.sendall(_post(1_000_000) + b"x")
                except OSError:
                    counts["end"] += 1
                    break
                counts["connections"] += 1
                open_[made] = time.monotonic()
                ended.register(made, selectors.EVENT_READ)
            for key, _ in ended.select(0.2):
                gone = key.fileobj
                assert isinstance(gone, socket.socket)
                counts[_answered(gone)] += 1
                ended.unregister(gone)
                del open_[gone]
                gone.close()
            for connection, last in list(open_.items()):
                if time.monotonic() - last >= 4:
                    open_[connection] = time.monotonic()
                    with contextlib.suppress(OSError):
                        connection.send(b"x")
        for connection in open_:
            connection.close()
    return counts


@scenario("half-heads", "2,000 sockets send half a head and wait", open_files=4096)
def half_heads(target: Target) -> Counter[str]:
    counts: Counter[str] = Counter()
    with _held(target, 2000) as held:
        for connection in held:
            with contextlib.suppress(OSError):
                connection.sendall(b"GET /livez HTTP/1.1\r\nho")
        counts["connections"] = len(held)
        while time.monotonic() < target.until:
            time.sleep(0.1)
        for connection in held:
            connection.settimeout(0.0)
            with contextlib.suppress(OSError):
                counts[_answered(connection)] += 1
    return counts


@scenario("trailers", "trailers without end after a body of no bytes, by way of a probe and of an upload")
def trailers(target: Target) -> Counter[str]:
    counts: Counter[str] = Counter()
    heads = [_post(None), b"GET /livez HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"]

    def once(connection: socket.socket) -> None:
        connection.sendall(heads[counts["connections"] % 2] + b"0\r\n")
        while time.monotonic() < target.until:
            counts["bytes taken"] += connection.send(b"a: b\r\n" * 10_000)

    return _again(target, counts, once)


@scenario("small-chunks", "bodies in chunks of one byte")
def small_chunks(target: Target) -> Counter[str]:
    counts: Counter[str] = Counter()

    def once(connection: socket.socket) -> None:
        connection.sendall(_post(None))
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < target.until:
                counts["bytes taken"] += connection.send(b"1\r\nx\r\n" * 10_000)
        counts[_answered(connection)] += 1

    return _again(target, counts, once)


@scenario("endless-bodies", "bodies that go on without end after 413, 415, 404 and 405")
def endless_bodies(target: Target) -> Counter[str]:
    counts: Counter[str] = Counter()
    heads = [
        _post(10**12),
        _post(10**12, kind="text/plain"),
        _post(None, path="/nowhere"),
        _post(10**12, path="/livez"),
    ]

    def once(connection: socket.socket) -> None:
        connection.sendall(heads[counts["connections"] % len(heads)])
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < target.until:
                counts["bytes taken"] += connection.send(b"x" * _CHUNK)
        counts[_answered(connection)] += 1

    return _again(target, counts, once)


@scenario("disconnects", "a caller in a row of honest ones leaves one time in ten, each time at another stage")
def disconnects(target: Target) -> Counter[str]:
    counts: Counter[str] = Counter()
    whole = _post(len(target.clip)) + target.clip
    head = len(whole) - len(target.clip)
    stages = {
        "connected": 0,
        "head": head // 2,
        "headers": head,
        "body": head + len(target.clip) // 2,
        "sent": len(whole),
    }

    def once(connection: socket.socket) -> None:
        number = counts["connections"]
        if number % 10:
            connection.sendall(whole)
            counts[_answered(connection)] += 1
            return
        stage = list(stages)[number // 10 % len(stages)]
        connection.sendall(whole[: stages[stage]])
        time.sleep(0.05 * (number // 50 % 3))
        counts[f"left at {stage}"] += 1

    return _again(target, counts, once)


@scenario(
    "stray",
    "a byte too many after a request, and the sending side closed before the answer",
    never=("stray end", "stray silence", "stray answered 4", "half-closed end", "half-closed silence"),
)
def stray(target: Target) -> Counter[str]:
    counts: Counter[str] = Counter()

    def once(connection: socket.socket) -> None:
        connection.sendall(_post(len(target.clip)) + target.clip)
        if counts["connections"] % 2:
            connection.sendall(b"x")
            counts["stray " + _answered(connection)] += 1
        else:
            connection.shutdown(socket.SHUT_WR)
            counts["half-closed " + _answered(connection)] += 1

    return _again(target, counts, once)


@scenario("descriptors", "400 idle sockets against a limit of 256 open files", open_files=256)
def descriptors(target: Target) -> Counter[str]:
    counts: Counter[str] = Counter()
    while time.monotonic() < target.until:
        with _held(target, 400) as held:
            counts["connections"] += len(held)
            time.sleep(max(0.0, min(2.0, target.until - time.monotonic())))
    return counts


@scenario("stderr", "nobody reads stderr, and every request is a line on it", stderr="blocked")
def blocked_stderr(target: Target) -> Counter[str]:
    counts: Counter[str] = Counter()

    def once(connection: socket.socket) -> None:
        for _ in range(100):
            connection.sendall(b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n")
            counts[_answered(connection)] += 1
            time.sleep(0.002)

    return _again(target, counts, once)


@scenario("sigterm", "SIGTERM while everybody is answered", survives=False)
def sigterm(target: Target) -> Counter[str]:
    counts: Counter[str] = Counter()
    half = target.until - (target.until - time.monotonic()) / 2
    while time.monotonic() < half:
        time.sleep(0.05)
    os.kill(target.pid, signal.SIGTERM)
    counts["signals"] += 1
    while time.monotonic() < target.until:
        try:
            with _connect(target) as connection:
                connection.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
                counts["probe " + _answered(connection)] += 1
        except OSError:
            counts["probe refused"] += 1
        time.sleep(0.1)
    return counts
