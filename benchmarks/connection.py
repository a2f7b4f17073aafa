"""``python -m benchmarks.connection``: what a request costs before the app sees it, by the reader of the connection.

uvicorn's readers (``httptools``, ``h11``) and ours (``own``) serve the same bare app, each in a process of its own; the
requests go round in turns. The figures are processor seconds of the serving process, as it tells them itself, so that
a busy machine does not decide; ratios are to ``httptools``. JSON on stdout, a table on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from benchmarks.document import when_and_where
from service.metrics import Metrics
from service.settings import ConnectionSettings
from service.wire.capacity import Capacity
from service.wire.connection import Common, Connection
from service.wire.listener import Listener, bind

READERS = ("httptools", "h11", "own")
HOST = "127.0.0.1"
_GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the size of the body and the processor seconds of this process."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        return
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = json.dumps([size, time.process_time()]).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def serve(reader: str, port: int) -> None:
    """Serves ``app`` until it is ended."""
    if reader != "own":
        uvicorn.run(app, host=HOST, port=port, http=reader, log_level="error", access_log=False)  # type: ignore[arg-type]
        return
    settings, metrics = ConnectionSettings(max_headers=10_000), Metrics()

    async def listen() -> None:
        capacity = Capacity(settings, settings.max_total, metrics)
        common = Common(app, settings, 60, 60, capacity, metrics, lambda: False, ServerState(), {})
        Listener(bind(HOST, port)[0], lambda place: Connection(common, place), capacity, metrics)
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=uvicorn.Config(app).get_loop_factory()) as runner:
        runner.run(listen())


def _post(length: int | None) -> bytes:
    framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
    return b"POST / HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n"


def _cases(rounds: int) -> dict[str, tuple[list[bytes], int]]:
    """Name -> what is sent, and how often."""
    block = b"x" * 65_536
    return {
        "GET": ([_GET], 20 * rounds),
        "300 KB": ([_post(300_000), b"x" * 300_000], 4 * rounds),
        "300 KB, chunks of 64 KB": ([_post(None), *[b"10000\r\n" + block + b"\r\n"] * 4, b"0\r\n\r\n"], 4 * rounds),
        "60 MB": ([_post(60_000_000), *[b"x" * 1_000_000] * 60], max(3, rounds // 4)),
        "1,800 headers": ([_GET[:-2] + b"".join(b"a%d: b\r\n" % i for i in range(1800)) + b"\r\n"], rounds),
        "20 KB, chunks of 1 byte": ([_post(None), b"1\r\nx\r\n" * 20_000, b"0\r\n\r\n"], rounds),
    }


def _ask(connection: socket.socket, sent: list[bytes]) -> float:
    """The processor seconds that the server had used when it answered."""
    for part in sent:
        connection.sendall(part)
    reply = b""
    while not reply.endswith(b"]"):
        more = connection.recv(65_536)
        if not more:
            raise SystemExit(f"the connection ended: {reply!r}")
        reply += more
    return float(json.loads(reply.partition(b"\r\n\r\n")[2])[1])


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Case -> reader -> median milliseconds of processor time."""
    ports = {reader: _free_port() for reader in READERS}
    servers = [
        subprocess.Popen([sys.executable, "-m", "benchmarks.connection", "--serve", reader, str(port)])
        for reader, port in ports.items()
    ]
    try:
        connections = {reader: _connected(port) for reader, port in ports.items()}
        found: dict[str, dict[str, float]] = {}
        for case, (sent, times) in _cases(rounds).items():
            used: dict[str, list[float]] = {reader: [] for reader in READERS}
            for _ in range(times):
                for reader, connection in connections.items():
                    before = _ask(connection, [_GET])
                    used[reader].append(1000 * (_ask(connection, sent) - before))
            found[case] = {reader: statistics.median(values) for reader, values in used.items()}
        return found
    finally:
        for server in servers:
            server.kill()
            server.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


def _connected(port: int) -> socket.socket:
    for _ in range(600):
        try:
            return socket.create_connection((HOST, port), timeout=60)
        except OSError:
            time.sleep(0.1)
    raise SystemExit("a server did not start")


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"{result['date']}; {result['machine']}. Median milliseconds of processor time, and the ratio to httptools.",
        "",
        "| request | " + " | ".join(READERS) + " |",
        "|---" * (1 + len(READERS)) + "|",
    ]
    for case, found in result["ms"].items():
        cells = [f"{found[reader]:.3f} ({found[reader] / found['httptools']:.2f})" for reader in READERS]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the benchmark, or one of its servers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=int, default=20, help="of the 60 MB uploads a quarter, of the others multiples"
    )
    parser.add_argument("--out", type=Path, help="a folder for DATE-connection.md and .json")
    parser.add_argument("--serve", nargs=2, metavar=("READER", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], int(options.serve[1]))
        return
    result = {
        **when_and_where(),
        "ms": measure(options.rounds),
    }
    sys.stderr.write(table(result))
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        stem = options.out / f"{result['date']}-connection"
        stem.with_suffix(".md").write_text(f"# What a request costs before the app sees it\n\n{table(result)}")
        stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
