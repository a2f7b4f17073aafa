"""``make media-fuzz``: damaged media against a running service. It must stay up and answer each file, typed, in time.

    python -m benchmarks.media_fuzz --corpus DIR --count 20000 --out docs/benchmarks

Files are drawn from a corpus and from clips made here, and damaged: bytes flipped, cut, repeated, blanked, and the
numbers that containers write in front of their parts replaced by extremes. File ``i`` of a seed is always the same, so
that a fault can be looked at again (``--show I FILE``). A run that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.chaos.registry import Scenario
from benchmarks.chaos.service import HOST, Service, started
from benchmarks.document import hand_over, when_and_where
from benchmarks.media_fuzz.damage import bases, damaged

_HANG_S = 60.0
_CHUNK = 500
_FAULTS = frozenset({"internal_error", "inference_failed", "not_ready"})
"""Codes that say the service is at fault, whatever was sent."""


@dataclass
class Tally:
    """What came back so far.

    Attributes:
        sent: files; also the number of the next one.
        answers: code -> how many.
        hangs, untyped, broken, faults: numbers of files that were not answered in time, not answered by a verdict or a
            problem document, not answered at all, answered by the service's own fault.
        restarts: reason -> worker processes replaced.
        ended: how often the service itself ended.
        seconds: of sending.
    """

    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    hangs: list[int] = field(default_factory=list)
    untyped: list[int] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    restarts: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    seconds: float = 0.0
    rss_mb: list[float] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing happened that must not."""
        return not (self.hangs or self.untyped or self.broken or self.faults or self.ended)


async def _post(port: int, body: bytes, number: int, tally: Tally) -> None:
    name = f"fuzz-{number}"
    head = (
        f"POST /classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: {name}\r\n"
        f"Content-Type: video/mp4\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    try:
        async with asyncio.timeout(_HANG_S):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(head.encode() + body)
                await writer.drain()
                answer = await reader.read()
            finally:
                writer.close()
    except TimeoutError:
        tally.hangs.append(number)
        return
    except OSError:
        tally.broken.append(number)
        return
    code, typed = verdict_on(answer, name)
    if code is not None:
        tally.answers[code] += 1
    if not typed:
        tally.untyped.append(number)
    if code in _FAULTS:
        tally.faults.append(number)


def verdict_on(answer: bytes, request_id: str) -> tuple[str | None, bool]:
    """The code of an answer (``ok``: a verdict), and whether it is a verdict or a problem of this very request."""
    try:
        document = json.loads(answer.partition(b"\r\n\r\n")[2])
        code = str(document["code"]) if "code" in document else "ok"
        return code, document["request_id"] == request_id and ("tasks" in document or "detail" in document)
    except (ValueError, KeyError, TypeError):
        return None, False


async def _send(port: int, found: Sequence[bytes], seed: int, numbers: range, callers: int, tally: Tally) -> None:
    waiting = iter(numbers)

    async def caller() -> None:
        for number in waiting:
            await _post(port, damaged(found, seed, number), number, tally)

    await asyncio.gather(*(caller() for _ in range(callers)))


def _restarts(service: Service) -> Counter[str]:
    lines = service.get("/metrics")[1].splitlines()
    start = "cpfd_decode_worker_restarts_total{"
    found = [line.rpartition(" ") for line in lines if line.startswith(start)]
    return Counter({series.split('"')[1]: int(float(value)) for series, _, value in found})


def _family_rss_mb(service: Service) -> float:
    process = psutil.Process(service.process.pid)
    family = [process, *process.children(recursive=True)]
    return float(round(sum(one.memory_info().rss for one in family) / 1e6, 1))


def run(options: argparse.Namespace, found: Sequence[bytes], tally: Tally) -> None:
    """Sends what is left, a chunk at a time, and writes the state down after each."""
    scenario = Scenario("media-fuzz", "damaged media", lambda target: Counter())
    while tally.sent < options.count:
        log = options.state.with_suffix(".log")
        with started(scenario, options.bundle, log) as service:
            before: Counter[str] = Counter()
            while tally.sent < options.count and not service.ended:
                numbers = range(tally.sent, min(tally.sent + _CHUNK, options.count))
                began = time.monotonic()
                asyncio.run(_send(service.port, found, options.seed, numbers, options.callers, tally))
                tally.seconds += time.monotonic() - began
                if service.ended:
                    tally.ended += 1
                else:
                    now = _restarts(service)
                    tally.restarts += now - before
                    before = now
                    tally.rss_mb.append(_family_rss_mb(service))
                tally.sent = numbers.stop
                written = options.state.with_suffix(".new")
                written.write_text(json.dumps({"seed": options.seed, **vars(tally)}), encoding="utf-8")
                written.replace(options.state)
                sys.stderr.write(f"{tally.sent} of {options.count}: {dict(tally.answers.most_common(4))}\n")


def resumed(state: Path, seed: int) -> Tally:
    """The tally so far; an empty one where there is none of this seed."""
    if not state.exists():
        return Tally()
    kept = json.loads(state.read_text(encoding="utf-8"))
    if kept.pop("seed") != seed:
        return Tally()
    return Tally(**kept | {"answers": Counter(kept["answers"]), "restarts": Counter(kept["restarts"])})


def document(options: argparse.Namespace, files: int, tally: Tally) -> dict[str, Any]:
    """The figures."""
    return {
        **when_and_where(),
        "seed": options.seed,
        "bases": files,
        **vars(tally),
    }


def page(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    answers = "; ".join(f"{n} {code}" for code, n in sorted(result["answers"].items(), key=lambda item: -item[1]))
    restarts = "; ".join(f"{n} {reason}" for reason, n in sorted(result["restarts"].items()) if n) or "none"
    memory = result["rss_mb"]
    rows = [
        ("files sent", f"{result['sent']} (seed {result['seed']}, damaged from {result['bases']} bases)"),
        ("the service ended", result["ended"]),
        ("not answered within 60 s", len(result["hangs"])),
        ("connection broken without an answer", len(result["broken"])),
        ("answered untyped", len(result["untyped"])),
        ("answered by a fault of the service", len(result["faults"])),
        ("answers", answers),
        ("worker processes replaced", restarts),
        ("memory of service and workers, MB: first and last", f"{memory[0]}, {memory[-1]}" if memory else "-"),
        ("time", f"{result['seconds']:.0f} s"),
    ]
    lines = ["# `make media-fuzz`", "", f"{result['date']}; {result['machine']}.", "", "| | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows)]) + "\n"


def main() -> None:
    """Runs, or shows one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=Path("bundles/cpfd-student"))
    parser.add_argument("--corpus", type=Path, help="a folder of media files")
    parser.add_argument("--most-bytes", type=int, default=256 * 1024, help="larger files of the corpus are left out")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, default=Path("runs/media-fuzz.json"), help="where a run goes on")
    parser.add_argument("--show", nargs=2, metavar=("I", "FILE"), help="write file I and stop")
    parser.add_argument("--out", type=Path, help="a folder for DATE-media-fuzz.md and .json")
    options = parser.parse_args()
    found = bases(options.corpus, options.most_bytes)
    if options.show:
        Path(options.show[1]).write_bytes(damaged(found, options.seed, int(options.show[0])))
        return
    options.state.parent.mkdir(parents=True, exist_ok=True)
    tally = resumed(options.state, options.seed)
    run(options, found, tally)
    result = document(options, len(found), tally)
    hand_over(result, "media-fuzz", page(result), options.out)
    raise SystemExit(0 if tally.clean else 1)


if __name__ == "__main__":
    main()
