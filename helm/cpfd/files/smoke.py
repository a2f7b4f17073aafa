"""Classifies a text and a small clip, made here, at each address: what `helm test` runs. Exit 0 if all answered.

python smoke.py [--timeout SECONDS] URL...
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import av
import numpy as np

BOUNDARY = "cpfd-smoke"


def made_clip() -> bytes:
    """An mp4 of a second of moving noise."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        base = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            for i in range(10):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(base, 4 * i, axis=1), format="rgb24")))
            container.mux(stream.encode(None))
        return path.read_bytes()


def form(title: str, clip: bytes | None) -> bytes:
    """The multipart body."""
    body = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="title"\r\n\r\n{title}\r\n'.encode()
    if clip is not None:
        head = 'Content-Disposition: form-data; name="video"; filename="clip.mp4"\r\nContent-Type: video/mp4'
        body += f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + clip + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def classify(url: str, body: bytes, timeout_s: float) -> dict[str, Any]:
    """The verdict.

    Raises:
        OSError: no answer, or one that is not 200; its text is the problem's.
    """
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    request = urllib.request.Request(f"{url}/classify", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            verdict: dict[str, Any] = json.load(answer)
            return verdict
    except urllib.error.HTTPError as error:
        with error:
            raise OSError(f"HTTP {error.code}: {error.read(2000).decode(errors='replace')}") from None


def main() -> int:
    parser = argparse.ArgumentParser(description="Classifies a text and a clip at each address.")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds for each reply")
    parser.add_argument("urls", nargs="+", metavar="URL")
    chosen = parser.parse_args()
    bodies = {"text": form("a drone over the park", None), "clip": form("a drone over the park", made_clip())}
    failed = 0
    for url in chosen.urls:
        for what, body in bodies.items():
            line: dict[str, Any] = {"url": url, "sent": what}
            try:
                verdict = classify(url, body, chosen.timeout)
                line |= {"arm": verdict["arm"], "labels": {k: t["label"] for k, t in verdict["tasks"].items()}}
                line["answered"] = bool(line["labels"]) and ("video" in verdict["modalities"]) == (what == "clip")
            except (OSError, ValueError, KeyError) as error:
                line |= {"answered": False, "error": str(error)}
            failed += not line["answered"]
            sys.stdout.write(json.dumps(line) + "\n")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
