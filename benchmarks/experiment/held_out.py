"""``make ab-example``: two arms on held-out rows, as an experiment: verdicts, shadows, labels, and the report.

    python -m benchmarks.experiment.held_out --bundles .cache/held-out --manifest data/default --out docs/benchmarks

The bundles are those of a trial's students: the committed ones have seen every fold. The service runs with its decision
log and every answer shadowed by the other arm. Each row of the test fold (clips) and of the test split (titles) is sent
once, as a unit of its own; its label is told by ``POST /feedback`` afterwards. Then ``python -m analysis report`` reads
the log. Every verdict must stand in the log exactly once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.document import today
from benchmarks.service import served
from training.data.manifest import Manifest, Row
from training.data.manifest_io import read_manifest

_SHADOW_PATIENCE_S = 60.0
_FEEDBACK_ITEMS = 500


def held_out(manifest: Manifest, fold: int, titles: int) -> list[Row]:
    """Clips of the fold, and every so-many-th title of the test split, so that about ``titles`` are sent."""
    clips = [row for row in manifest.rows if row.video is not None and row.fold == fold]
    texts = [row for row in manifest.rows if row.video is None and row.split == "test"]
    return clips + texts[:: max(1, len(texts) // titles)]


def request_of(row: Row, manifest: Manifest) -> tuple[bytes, str]:
    """Body and content type: a form with the row's id, texts and clip."""
    mark = "held-out-row"
    fields = {"video_id": row.id, **{name: text for name, text in row.texts.items() if text}}
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        for name, text in fields.items()
    ]
    if row.video is not None:
        head = 'Content-Disposition: form-data; name="video"; filename="clip.mp4"\r\nContent-Type: video/mp4'
        parts.append(f"--{mark}\r\n{head}\r\n\r\n".encode() + manifest.video_path(row).read_bytes() + b"\r\n")
    return b"".join(parts) + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


async def ask(port: int, body: bytes, kind: str) -> dict[str, Any]:
    """The reply; empty where the connection broke."""
    head = f"POST /classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.read()
        finally:
            writer.close()
        reply: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    except (OSError, ValueError):
        return {}
    return reply


async def send(port: int, rows: Sequence[Row], manifest: Manifest, callers: int) -> list[tuple[Row, dict[str, Any]]]:
    """Each row, and what it was answered."""
    left, found = iter(rows), list[tuple[Row, dict[str, Any]]]()

    async def caller() -> None:
        for row in left:
            found.append((row, await ask(port, *request_of(row, manifest))))

    await asyncio.gather(*(caller() for _ in range(callers)))
    return found


def labels_of(answered: Sequence[tuple[Row, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The feedback on every verdict: what the manifest says of the row.

    A row is labelled for some tasks only, whatever the verdicts: its chance of being labelled for a task is the share
    of the task's verdicts that are.
    """
    verdicts = [(row, reply) for row, reply in answered if "tasks" in reply]
    judged = Counter(task for _, reply in verdicts for task, one in reply["tasks"].items() if one["supported"])
    labelled = Counter(t for row, reply in verdicts for t in row.labels if reply["tasks"][t]["supported"])
    return [
        {
            "feedback_id": row.id,
            "decision_id": reply["decision_id"],
            "task": task,
            "labels": [label] if isinstance(label, str) else list(label),
            "source": "manifest",
            "sampled_with": labelled[task] / judged[task] if judged[task] else 1.0,
            "attributes": dict(row.slices),
            **({} if row.view_count is None else {"views": int(row.view_count)}),
        }
        for row, reply in verdicts
        for task, label in row.labels.items()
        if reply["tasks"][task]["supported"]
    ]


def tell(port: int, labels: Sequence[dict[str, Any]]) -> None:
    """Posts the feedback."""
    for first in range(0, len(labels), _FEEDBACK_ITEMS):
        body = json.dumps(labels[first : first + _FEEDBACK_ITEMS]).encode()
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/feedback", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=30) as reply:
            reply.read()


def logged(folder: Path) -> Counter[str]:
    """Decisions in the log: ``own`` or ``shadow`` -> how many."""
    counts: Counter[str] = Counter()
    for path in folder.glob("*.sqlite"):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as base:
            for shadow, count in base.execute("SELECT shadow, count(*) FROM decisions GROUP BY shadow"):
                counts["shadow" if shadow else "own"] += count
    return counts


def run(options: argparse.Namespace, log: Path) -> dict[str, Any]:
    """Sends, waits for the shadows, tells the labels."""
    manifest = read_manifest(options.manifest)
    rows = held_out(manifest, options.fold, options.titles)
    arms = [
        {"name": "baseline", "bundle": str(options.bundles / "xvlm-baseline"), "weight": 50},
        {"name": "student", "bundle": str(options.bundles / "cpfd-student"), "weight": 50},
    ]
    settings = {"CPFD_ARMS": json.dumps(arms), "CPFD_LOG__DIRECTORY": str(log), "CPFD_EXPERIMENT__SHADOW_RATE": "1"}
    with served(Path.cwd(), settings) as service:
        answered = asyncio.run(send(service.port, rows, manifest, options.callers))
        end, before = time.monotonic() + _SHADOW_PATIENCE_S, -1
        while time.monotonic() < end and logged(log)["shadow"] != before:
            before = logged(log)["shadow"]
            time.sleep(2.0)
        labels = labels_of(answered)
        tell(service.port, labels)
        found = logged(log)
    codes = Counter("ok" if "tasks" in reply else str(reply.get("code")) for _, reply in answered)
    return {"sent": len(rows), "answers": dict(codes), "logged": dict(found), "labels": len(labels)}


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", type=Path, required=True, help="folder of xvlm-baseline/ and cpfd-student/")
    parser.add_argument("--manifest", type=Path, default=Path("data/default"))
    parser.add_argument("--fold", type=int, default=0, help="of the clips: one that the bundles did not see")
    parser.add_argument("--titles", type=int, default=3755)
    parser.add_argument("--callers", type=int, default=1, help="more leave fewer idle moments to the shadows")
    parser.add_argument("--out", type=Path, required=True, help="folder for DATE-ab-example/")
    options = parser.parse_args()
    home = options.out / f"{today()}-ab-example"
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        found = run(options, log)
        (home / "run.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        sys.stderr.write(f"{found}\n")
        report = [sys.executable, "-m", "analysis", "report", "--log", str(log), "--out", str(home)]
        subprocess.run([*report, "--control", "baseline", "--treatment", "student"], check=True)


if __name__ == "__main__":
    main()
