"""What the same work costs without a service: decode, tokenise, run the graphs, in a plain loop.

Run as a process of its own, so that its memory is its own:

    python -m benchmarks.in_process BUNDLE CLIP THREADS CLIPS
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnxruntime
import psutil

from contract.bundle import Bundle, read_bundle
from contract.example import RawExample, collate, read_example
from contract.model_graphs import ModelGraphs
from contract.video import DecodeLimits

TITLE = "You won't believe what this drone saw"


def one_thread_graphs(bundle: Bundle) -> ModelGraphs:
    """The bundle's graphs on the CPU, each run on the thread that asks."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    manifest = bundle.manifest
    sessions = {
        role: onnxruntime.InferenceSession(bundle.graph(role), options, providers=["CPUExecutionProvider"])
        for role in manifest.graphs
    }
    return ModelGraphs(manifest.tasks, sessions, manifest.feature_shape, manifest.evidence_names)


def measure(bundle_path: Path, clip: Path, threads: int, clips: int) -> dict[str, float]:
    """Clips a second, latencies in ms, memory in MB, of ``threads`` loops that share one session."""
    bundle = read_bundle(bundle_path)
    graphs, spec = one_thread_graphs(bundle), bundle.manifest.input_spec

    def one(_: int) -> float:
        started = time.perf_counter()
        example = read_example(RawExample(clip, {"title": TITLE}), spec, bundle.tokenizer, DecodeLimits())
        graphs.run(collate([example], bundle.tokenizer.pad_id))
        return time.perf_counter() - started

    one(0)
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        took = sorted(pool.map(one, range(clips)))
    wall = time.perf_counter() - started
    return {
        "clips_per_s": clips / wall,
        "p50_ms": 1000 * took[len(took) // 2],
        "p99_ms": 1000 * took[min(len(took) - 1, int(0.99 * len(took)))],
        "rss_mb_before": before / 1e6,
        "rss_mb_after": psutil.Process().memory_info().rss / 1e6,
    }


if __name__ == "__main__":
    bundle_argument, clip_argument, threads_argument, clips_argument = sys.argv[1:]
    result = measure(Path(bundle_argument), Path(clip_argument), int(threads_argument), int(clips_argument))
    sys.stdout.write(json.dumps(result))
