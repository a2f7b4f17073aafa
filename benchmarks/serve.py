"""``make bench-serve``: a closed loop of callers on loopback beside a plain in-process loop, in one run.

The in-process loop runs before and after the service, and ratios are taken against the mean of both, so that a machine
that slows down midway does not make the service look bad or good. JSON on stdout, a Markdown table on stderr.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from benchmarks.clip import write_clip
from benchmarks.document import when_and_where
from benchmarks.in_process import TITLE

CONCURRENCY = (1, 8, 32)
_START_TIMEOUT_S = 60
_PLACE = b"0123456789abcdef0123456789abcdef"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _form(clip: Path) -> tuple[bytes, str]:
    mark = uuid.uuid4().hex
    head = (
        f'--{mark}\r\nContent-Disposition: form-data; name="title"\r\n\r\n{TITLE}\r\n'
        f'--{mark}\r\nContent-Disposition: form-data; name="video"; filename="clip.mp4"\r\n'
        "Content-Type: video/mp4\r\n\r\n"
    )
    box = (8 + len(_PLACE)).to_bytes(4, "big") + b"free" + _PLACE  # which every reader of MP4 skips
    return (
        head.encode() + clip.read_bytes() + box + f"\r\n--{mark}--\r\n".encode(),
        f"multipart/form-data; boundary={mark}",
    )


def _post(port: int, body: bytes, content_type: str) -> tuple[int, float]:
    # Equal requests in flight share their work: each of these is to be work of its own.
    body = body.replace(_PLACE, uuid.uuid4().hex.encode())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    started = time.perf_counter()
    try:
        connection.request("POST", "/classify", body, {"Content-Type": content_type, "X-Request-Timeout-Ms": "60000"})
        response = connection.getresponse()
        response.read()
        return response.status, time.perf_counter() - started
    finally:
        connection.close()


def _memory_mb(process: psutil.Process) -> float:
    """Proportional memory of the service and its decode workers, in MB: shared pages are counted once."""
    family = [process, *process.children(recursive=True)]
    return float(sum(p.memory_full_info().pss for p in family)) / 1e6


def _closed_loop(port: int, body: bytes, content_type: str, callers: int, requests: int) -> dict[str, Any]:
    """``callers`` callers, each posting again as soon as it is answered, until ``requests`` were sent."""
    started = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        answers = list(pool.map(lambda _: _post(port, body, content_type), range(requests)))
    wall = time.perf_counter() - started
    took = sorted(seconds for status, seconds in answers if status == 200)
    statuses: dict[str, int] = {}
    for status, _ in answers:
        statuses[str(status)] = statuses.get(str(status), 0) + 1
    return {
        "callers": callers,
        "statuses": statuses,
        "clips_per_s": len(took) / wall,
        "p50_ms": 1000 * took[len(took) // 2],
        "p99_ms": 1000 * took[min(len(took) - 1, int(0.99 * len(took)))],
    }


def _in_process(bundle: Path, clip: Path, threads: int, clips: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.in_process", str(bundle), str(clip), str(threads), str(clips)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def wait_ready(port: int, server: subprocess.Popen[bytes]) -> None:
    """Returns once the service takes requests; exits where it ends instead."""
    for _ in range(_START_TIMEOUT_S * 5):
        if server.poll() is not None:
            raise SystemExit(f"the service ended with {server.returncode}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit("the service did not become ready")


def run(bundle: Path, requests: int) -> dict[str, Any]:
    """The benchmark's figures; ``requests`` at each concurrency."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip)
        body, content_type = _form(clip)
        loops = {threads: [_in_process(bundle, clip, threads, requests)] for threads in dict.fromkeys((1, cores))}
        port = free_port()
        environment = os.environ | {"PORT": str(port), "CPFD_LOG_LEVEL": "warning"}
        server = subprocess.Popen([sys.executable, "-m", "service"], env=environment)
        try:
            wait_ready(port, server)
            process = psutil.Process(server.pid)
            _post(port, body, content_type)
            service = []
            for callers in CONCURRENCY:
                before = _memory_mb(process)
                found = _closed_loop(port, body, content_type, callers, max(requests, 2 * callers))
                service.append(found | {"pss_mb_before": before, "pss_mb_after": _memory_mb(process)})
        finally:
            server.terminate()
            server.wait(60)
        for threads, results in loops.items():
            results.append(_in_process(bundle, clip, threads, requests))
        size = clip.stat().st_size
    return _summary(loops, service, cores, size)


def _summary(
    loops: dict[int, list[dict[str, float]]], service: list[dict[str, Any]], cores: int, size: int
) -> dict[str, Any]:
    plain = {threads: sum(r["clips_per_s"] for r in results) / len(results) for threads, results in loops.items()}
    for found in service:
        threads = 1 if found["callers"] == 1 else cores
        found["ratio_to_in_process"] = found["clips_per_s"] / plain[threads]
    return {
        **when_and_where(),
        "clip": f"15 s, 1280x720, H.264, {size} bytes",
        "in_process": {str(threads): results for threads, results in loops.items()},
        "service": service,
    }


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"{result['date']}; {result['machine']}; clip: {result['clip']}.",
        "",
        "| what | clips/s | ratio to the in-process loop | p50 ms | p99 ms | memory MB before, after |",
        "|---|---|---|---|---|---|",
    ]
    for threads, runs in result["in_process"].items():
        for when, r in zip(("before", "after"), runs, strict=True):
            memory = f"{r['rss_mb_before']:.0f}, {r['rss_mb_after']:.0f}"
            figures = f"{r['clips_per_s']:.2f} | 1 | {r['p50_ms']:.0f} | {r['p99_ms']:.0f}"
            lines.append(f"| in-process loop, {threads} thread(s), {when} | {figures} | {memory} |")
    for s in result["service"]:
        memory = f"{s['pss_mb_before']:.0f}, {s['pss_mb_after']:.0f}"
        figures = f"{s['clips_per_s']:.2f} | {s['ratio_to_in_process']:.2f} | {s['p50_ms']:.0f} | {s['p99_ms']:.0f}"
        refused = ", ".join(f"{n} x {status}" for status, n in s["statuses"].items() if status != "200")
        lines.append(f"| service, {s['callers']} caller(s){'; ' + refused if refused else ''} | {figures} | {memory} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the benchmark; exit 1 if the service does not start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("bundles/cpfd-student"))
    parser.add_argument("--requests", type=int, default=40, help="at each concurrency (at least twice the callers)")
    options = parser.parse_args()
    result = run(options.bundle, options.requests)
    sys.stderr.write(table(result))
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
