"""``make log-drill``: 5,000 requests over two arms with shadows, kill -9, a full disk, labels, the page, a replay.

    python -m benchmarks.experiment.drill --manifest data/default --out docs/benchmarks

The rows of ``make ab-example`` are sent, again under other ids until there are enough. The service is killed
once and started again, and once its disk is full for a while; whoever got no verdict sends again. Then: every verdict
that a caller was given stands in the log exactly once; the page is built; 200 decisions are replayed from the media,
then once more with some clips and a bundle that were tampered with, and all must be named.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.document import hand_over, when_and_where
from benchmarks.experiment.held_out import ask, held_out, labels_of, logged, request_of, tell
from benchmarks.serve import free_port, wait_ready
from benchmarks.service import start
from training.data.manifest import Manifest, Row
from training.data.manifest_io import read_manifest

_BUNDLES = (Path("bundles/xvlm-baseline"), Path("bundles/cpfd-student"))
_PAUSE_S = 0.1
_FULL_S = 3.0
_SHADOWS_S = 5.0


@dataclass
class Run:
    """What was sent and answered.

    Attributes:
        answered: a row, and the verdict that its caller read.
        refused: code of a problem, or ``lost``, -> how often.
        events: what was done to the service, and after how many verdicts.
    """

    answered: list[tuple[Row, dict[str, Any]]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    events: dict[str, int] = field(default_factory=dict)


class Service:
    """The service under the drill, on one port for all its lives."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self._settings = {"CPFD_LOG__DIRECTORY": str(log), "CPFD_EXPERIMENT__SHADOW_RATE": "1"}
        self.start()

    def start(self) -> None:
        self.process = start(Path.cwd(), self.port, self._settings)
        wait_ready(self.port, self.process)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def fill_disk(self) -> None:
        """From now on no file may grow, as on a full disk."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def make_room(self) -> None:
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def rows_of(manifest: Manifest, fold: int, count: int) -> list[Row]:
    """The rows of ``make ab-example``, the same again under other ids where there are too few."""
    rows = held_out(manifest, fold, count)
    again = [row.model_copy(update={"id": f"{row.id}-{n}"}) for n in range(1, 1 + count // len(rows)) for row in rows]
    return [*rows, *again][:count]


async def drill(service: Service, rows: Sequence[Row], manifest: Manifest, callers: int) -> Run:
    """Sends each row until it has a verdict; kills the service at a third, fills its disk at two thirds."""
    left, run = deque(rows), Run()

    async def caller() -> None:
        while left:
            row = left.popleft()
            reply = await ask(service.port, *request_of(row, manifest))
            if "tasks" in reply:
                run.answered.append((row, reply))
                continue
            run.refused[str(reply.get("code", "lost"))] += 1
            left.append(row)
            await asyncio.sleep(_PAUSE_S)

    async def trouble() -> None:
        await _reached(run, len(rows) // 3)
        run.events["killed"] = len(run.answered)
        await asyncio.to_thread(service.kill)
        await asyncio.to_thread(service.start)
        await _reached(run, 2 * len(rows) // 3)
        run.events["disk full"] = len(run.answered)
        service.fill_disk()
        await asyncio.sleep(_FULL_S)
        service.make_room()

    await asyncio.gather(trouble(), *(caller() for _ in range(callers)))
    return run


async def _reached(run: Run, count: int) -> None:
    while len(run.answered) < count:  # noqa: ASYNC110  the callers set no event
        await asyncio.sleep(0.01)


def verdicts_in(log: Path) -> Counter[str]:
    """Decision id -> how often the log holds it as a verdict of its own."""
    counts: Counter[str] = Counter()
    for path in log.glob("*.sqlite"):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as base:
            found = base.execute("SELECT decision_id, shadow FROM decisions WHERE code = 'ok'")
            counts.update(one for one, shadow in found if not shadow)
    return counts


def accounted(run: Run, log: Path) -> dict[str, int]:
    """Verdicts given against verdicts logged."""
    given, held = {reply["decision_id"] for _, reply in run.answered}, verdicts_in(log)
    return {
        "verdicts_given": len(given),
        "given_and_logged_once": sum(held[one] == 1 for one in given),
        "given_and_not_logged": sum(held[one] == 0 for one in given),
        "logged_more_than_once": sum(count > 1 for count in held.values()),
        "logged_and_never_read": len(set(held) - given),
        "shadows": logged(log)["shadow"],
    }


def write_texts(rows: Sequence[Row], manifest: Manifest, path: Path) -> None:
    """What was sent beside the clips, as ``replay`` wants it."""
    lines = []
    for row in rows:
        media = None if row.video is None else hashlib.sha256(manifest.video_path(row).read_bytes()).hexdigest()
        lines.append(json.dumps({"media": media, **{name: text for name, text in row.texts.items() if text}}))
    path.write_text("\n".join(dict.fromkeys(lines)) + "\n", encoding="utf-8")


def copy_media(rows: Sequence[Row], manifest: Manifest, folder: Path) -> None:
    """The clips under their ids."""
    folder.mkdir()
    for row in rows:
        if row.video is not None:
            shutil.copyfile(manifest.video_path(row), folder / f"{row.id}.mp4")


def chosen(run: Run, count: int) -> list[str]:
    """Ids of decisions to replay: three of four on clips, where there are so many."""
    clips = [reply["decision_id"] for row, reply in run.answered if row.video is not None][: count * 3 // 4]
    texts = [reply["decision_id"] for row, reply in run.answered if row.video is None]
    return [*clips, *texts[: count - len(clips)]]


def replayed(log: Path, media: Path, texts: Path, bundles: Sequence[Path], decisions: Sequence[str]) -> dict[str, Any]:
    """What ``replay`` says of these decisions."""
    options = ["--log", str(log), "--media", str(media), "--texts", str(texts)]
    given = [word for bundle in bundles for word in ("--bundle", str(bundle))]
    wanted = [word for one in decisions for word in ("--decision", one)]
    command = [sys.executable, "-m", "service.experiment", "replay", *options, *given, *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise SystemExit(done.stderr)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def tamper(media: Path) -> None:
    """Changes a byte of one clip in ten, of all its copies."""
    for file in sorted(media.iterdir()):
        if hashlib.sha256(file.read_bytes()).digest()[0] % 10 == 0:
            _change_a_byte(file)


def tampered(log: Path, media: Path, texts: Path, folder: Path, decisions: Sequence[str]) -> dict[str, Any]:
    """The same with one clip in ten and one bundle changed: what is named."""
    bundle = folder / "tampered"
    shutil.copytree(_BUNDLES[1], bundle)
    _change_a_byte(bundle / "rest.onnx")
    tamper(media)
    said = replayed(log, media, texts, (_BUNDLES[0], bundle), decisions)
    refused = list(said["refused_bundles"].values())
    return {"good": said["good"], "outcomes": said["outcomes"], "refused_bundles": refused}


def _change_a_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def table(found: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    replay = found["replay"]
    rows = {
        "requests, verdicts read": f"{found['requests']}, {found['log']['verdicts_given']}",
        "refused or lost, and sent again": ", ".join(f"{n} {c}" for c, n in found["refused"].items()) or "none",
        **{f"the service was {event}": f"after {count} verdicts" for event, count in found["events"].items()},
        "verdicts read and in the log exactly once": found["log"]["given_and_logged_once"],
        "read and not in the log": found["log"]["given_and_not_logged"],
        "in the log more than once": found["log"]["logged_more_than_once"],
        "in the log, their caller cut off before he read it": found["log"]["logged_and_never_read"],
        "shadows": found["log"]["shadows"],
        "labels told": found["labels"],
        "the page": found["page"],
        "replayed": f"{replay['decisions']}: {replay['outcomes']}, worst gap {replay['worst_gap']:.2g}",
        "with one clip in ten and one bundle tampered with": str(found["tampered"]["outcomes"]),
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]) + "\n"


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The whole drill."""
    manifest = read_manifest(options.manifest)
    rows, log = rows_of(manifest, options.fold, options.count), folder / "log"
    service = Service(log)
    try:
        done = asyncio.run(drill(service, rows, manifest, options.callers))
        time.sleep(_SHADOWS_S)
        labels = labels_of(done.answered)
        tell(service.port, labels)
    finally:
        service.stop()
    page = folder / "page"
    report = [sys.executable, "-m", "analysis", "report", "--log", str(log), "--out", str(page)]
    subprocess.run([*report, "--control", "baseline", "--treatment", "student"], check=True)
    media, texts = folder / "media", folder / "texts.jsonl"
    copy_media(rows, manifest, media)
    write_texts(rows, manifest, texts)
    decisions = chosen(done, options.replays)
    return {
        **when_and_where(),
        "requests": len(rows),
        "refused": dict(done.refused),
        "events": done.events,
        "log": accounted(done, log),
        "labels": len(labels),
        "page": json.loads((page / "report.json").read_text())["decision"]["sentence"],
        "replay": replayed(log, media, texts, _BUNDLES, decisions),
        "tampered": tampered(log, media, texts, folder, decisions),
    }


def main() -> None:
    """Runs the drill; exit 1 where a verdict is not in the log exactly once, or a decision does not come out again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, default=Path("data/default"))
    parser.add_argument("--fold", type=int, default=0, help="of the clips: one that the bundles did not see")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--callers", type=int, default=2)
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--out", type=Path, help="folder for DATE-log-drill.json and .md; none: stdout only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(options, Path(folder))
    hand_over(
        found, "log-drill", f"# `make log-drill`\n\n{found['date']}; {found['machine']}.\n\n{table(found)}", options.out
    )
    log = found["log"]
    if log["given_and_not_logged"] or log["logged_more_than_once"] or not found["replay"]["good"]:
        raise SystemExit(1)
    named = found["tampered"]["outcomes"]
    if not (named.get("other_bundle") and named.get("media_altered", 0) + named.get("media_missing", 0)):
        raise SystemExit("what was tampered with was not named")


if __name__ == "__main__":
    main()
