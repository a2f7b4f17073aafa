"""``python -m benchmarks.chaos``: every scenario, or those named. JSON on stdout, Markdown on stderr; exit 1 where a
bound was broken.

    python -m benchmarks.chaos --seconds 8 trailers stray
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.chaos.honest import form
from benchmarks.chaos.registry import scenarios
from benchmarks.chaos.report import BOUNDS, faults, markdown
from benchmarks.chaos.run import Plan, run
from benchmarks.clip import write_clip
from benchmarks.document import when_and_where

_TITLES = ("what the drone saw", "you won't believe this fight", "a bird in the park", "news of the day")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *scenarios()], help="all, if none is named")
    parser.add_argument("--bundle", type=Path, default=Path("bundles/cpfd-student"))
    parser.add_argument("--seconds", type=float, default=20.0, help="of each attack, and of the time alone around it")
    parser.add_argument("--callers", type=int, default=2, help="honest ones")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between an answer and the next request")
    parser.add_argument("--max-ratio", type=float, default=1.5, help="of p99 under attack to p99 alone")
    parser.add_argument("--out", type=Path, help="a folder for DATE-chaos.md and .json")
    return parser.parse_args()


def main() -> int:
    """Runs the scenarios one after another."""
    options = _options()
    chosen = [made for name, made in scenarios().items() if name in options.names or not options.names]
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples = []
        for i, title in enumerate(_TITLES):
            write_clip(folder / f"{i}.mp4", seconds=i + 1, width=320, height=240, kbit_s=300)
            samples.append(form((folder / f"{i}.mp4").read_bytes(), title))
        plan = Plan(options.bundle, samples, folder / "0.mp4", options.callers, options.pause, options.seconds, folder)
        for scenario in chosen:
            result = run(scenario, plan)
            result["faults"] = faults(scenario, result, options.max_ratio)
            results.append(result)
            sys.stderr.write(f"{scenario.name}: {'; '.join(result['faults']) or 'held'}\n")
    document = {
        **when_and_where(),
        "honest": f"{options.callers} honest callers, clips of 1 to 4 s at 320x240, {options.seconds:g} s an attack",
        "bounds": BOUNDS.format(ratio=options.max_ratio),
        "scenarios": results,
    }
    text = markdown(document)
    sys.stderr.write(text)
    sys.stdout.write(json.dumps(document, indent=1) + "\n")
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        stem = options.out / f"{document['date']}-chaos"
        stem.with_suffix(".md").write_text(text)
        stem.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    return 1 if any(result["faults"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
