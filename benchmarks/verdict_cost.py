"""``make bench-cost``: CPU seconds of one verdict, decode and model apart, of several bundles in one run.

    python -m benchmarks.verdict_cost BUNDLE BUNDLE ... --out docs/benchmarks

Every round gives each clip to each bundle in turn, so that a machine that changes its speed does so for all. What is
counted is the process's CPU time with one thread; ratios are to the first bundle. A title alone is a case of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.clip import write_clip
from benchmarks.document import hand_over, when_and_where
from benchmarks.in_process import TITLE, one_thread_graphs
from contract.bundle import Bundle, read_bundle
from contract.example import RawExample, collate, read_example
from contract.model_graphs import ModelGraphs
from contract.video import DecodeLimits

CASES: dict[str, dict[str, int] | None] = {
    "240p, 2 s": {"seconds": 2, "width": 320, "height": 240, "kbit_s": 300},
    "720p, 10 s": {"seconds": 10, "width": 1280, "height": 720, "kbit_s": 1200},
    "title alone": None,
}


def cpu_seconds(bundle: Bundle, graphs: ModelGraphs, clip: Path | None) -> tuple[float, float]:
    """CPU seconds of reading an example (decode and tokenisation), and of the model."""
    began = time.process_time()
    spec = bundle.manifest.input_spec
    example = read_example(RawExample(clip, {"title": TITLE}), spec, bundle.tokenizer, DecodeLimits())
    read = time.process_time()
    graphs.run(collate([example], bundle.tokenizer.pad_id))
    return read - began, time.process_time() - read


def run(paths: list[Path], rounds: int) -> dict[str, Any]:
    """Case -> bundle -> medians in milliseconds."""
    bundles = [read_bundle(path) for path in paths]
    graphs = [one_thread_graphs(bundle) for bundle in bundles]
    taken: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        clips: dict[str, Path | None] = {}
        for name, options in CASES.items():
            clips[name] = None if options is None else Path(folder) / f"{len(clips)}.mp4"
            if options is not None:
                write_clip(Path(folder) / f"{len(clips) - 1}.mp4", **options)
        for turn in range(rounds + 1):
            for name, clip in clips.items():
                for place, (bundle, loaded) in enumerate(zip(bundles, graphs, strict=True)):
                    found = cpu_seconds(bundle, loaded, clip)
                    if turn:  # the first round warms
                        taken[name, place].append(found)
    cases: dict[str, list[dict[str, float]]] = {name: [] for name in CASES}
    for (name, _), found in sorted(taken.items(), key=lambda item: item[0][1]):
        decode, model = 1000 * median(one[0] for one in found), 1000 * median(one[1] for one in found)
        cases[name].append({"decode_ms": decode, "model_ms": model, "sum_ms": decode + model})
    return {
        **when_and_where(),
        "rounds": rounds,
        "bundles": [f"{b.manifest.name} {b.manifest.version} {b.digest[:12]}" for b in bundles],
        "cases": cases,
    }


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"{result['date']}; {result['machine']}; CPU time, one thread, medians of {result['rounds']} rounds.",
        "",
        "| case | bundle | decode, ms | model, ms | sum, ms | of the first |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in result["cases"].items():
        first = found[0]["sum_ms"]
        for label, one in zip(result["bundles"], found, strict=True):
            figures = [f"{one[key]:.1f}" for key in ("decode_ms", "model_ms", "sum_ms")]
            lines.append(f"| {name} | {label} | {' | '.join(figures)} | {one['sum_ms'] / first:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, help="folders; ratios are to the first")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="folder for DATE-verdict-cost.json and .md; none: stdout only")
    options = parser.parse_args()
    result = run(options.bundles, options.rounds)
    hand_over(result, "verdict-cost", f"# `make bench-cost`\n\n{table(result)}", options.out)


if __name__ == "__main__":
    main()
