"""``python -m benchmarks.provider BUNDLE``: a bundle on each execution provider, beside one core of the CPU.

Per provider: the largest difference of a golden example's logit to what the bundle recorded, and the time of each
batch size that the service would run there. ``cpu`` and ``cuda`` are loaded and proved as the service does it. The
others are what it does not do, to see what that would bring: ``cuda-one-session`` runs every size on one session,
``cuda-tf32`` lets products round to 10 bits, ``cuda-fp16`` computes the vision tower in half precision. All in one
run, in which sizes and providers take turns: so a machine that changes its speed does so for all, and every batch has
another size than the one before it, as in service.

    python -m benchmarks.provider bundles/cpfd-student --providers cpu cuda cuda-fp16 --out docs/benchmarks
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.document import hand_over, when_and_where
from contract.bundle import Bundle, read_bundle
from contract.bundle_manifest import VISION
from contract.model_graphs import ModelGraphs
from service.settings import LaneSettings
from service.stages.inference import ArmModel, golden_rows, provider_options

PROVIDERS = ("cpu", "cuda", "cuda-one-session", "cuda-tf32", "cuda-fp16")
SERVED = PROVIDERS[:2]
SIZES = LaneSettings(provider="cuda").effective_buckets
Feeds = Mapping[str, NDArray[Any]]
Run = Callable[[Feeds], Mapping[str, NDArray[Any]]]


def _as_served(bundle: Bundle, provider: str) -> tuple[Run, float]:
    """The model as the service loads it, and the gap that its start would find."""
    model = ArmModel(bundle, LaneSettings(provider="cuda" if provider == "cuda" else "cpu"))
    return model.run, model.prove()


def _not_served(bundle: Bundle, provider: str) -> tuple[Run, float]:
    """The same for what the service does not do; its gap is of batches of every size too."""
    manifest = bundle.manifest
    if VISION not in manifest.graphs:
        raise ValueError("the bundle has no tower of its own")
    found = {role: bundle.graph(role) for role in manifest.graphs}
    if provider == "cuda-fp16":
        found[VISION] = _half(found[VISION])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # as in service
    wanted = provider_options("cuda", tf32=provider == "cuda-tf32")
    graphs = {}
    for size in SIZES:
        sessions = {role: onnxruntime.InferenceSession(graph, options, wanted) for role, graph in found.items()}
        graphs[size] = ModelGraphs(
            manifest.tasks, sessions, manifest.feature_shape, manifest.evidence_names, every_row=True, moments_at_once=0
        )
        if (got := sessions[VISION].get_providers()[0]) != "CUDAExecutionProvider":
            raise RuntimeError(f"onnxruntime runs on {got}")
        if provider == "cuda-one-session":
            graphs = dict.fromkeys(SIZES, graphs[size])
            break

    def run(feeds: Feeds) -> Mapping[str, NDArray[Any]]:
        return graphs[len(feeds["video_present"])].run(feeds)

    worst = 0.0
    for size in SIZES:
        found_logits = run(batch_of(bundle, size))
        for name, recorded in bundle.golden.logits.items():
            wanted_logits = np.resize(recorded, (size, recorded.shape[1]))
            worst = max(worst, float(np.abs(found_logits[name] - wanted_logits).max()))
    return run, worst


def _half(graph: bytes) -> bytes:
    """The graph with its arithmetic in fp16, and inputs and outputs as they were."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    halved = convert_float_to_float16(onnx.load_from_string(graph), keep_io_types=True)
    serialised: bytes = halved.SerializeToString()
    return serialised


def batch_of(bundle: Bundle, size: int) -> dict[str, NDArray[Any]]:
    """The golden examples, repeated to a batch, texts at the length that a GPU is given."""
    picked = np.resize(np.arange(len(bundle.golden.inputs["frames"])), size)
    return golden_rows(bundle, picked, bundle.manifest.input_spec.max_text_tokens)


def _seconds(run: Run, feeds: Feeds) -> float:
    began = time.perf_counter()
    run(feeds)
    return time.perf_counter() - began


def run(bundle: Bundle, providers: list[str], rounds: int) -> dict[str, Any]:
    """Provider -> gap and milliseconds of a batch, by size; of one that cannot be had, why.

    Ratios are to the first that can be had.
    """
    runs: dict[str, Run] = {}
    found: dict[str, dict[str, Any]] = {}
    for provider in providers:
        try:
            runs[provider], gap = (_as_served if provider in SERVED else _not_served)(bundle, provider)
            found[provider] = {"golden_gap": gap}
        except Exception as error:  # the runtime raises its own types, which derive from Exception alone
            found[provider] = {"error": f"{type(error).__name__}: {error}"}
    feeds = {size: batch_of(bundle, size) for size in SIZES}
    taken: dict[tuple[str, int], list[float]] = defaultdict(list)
    for turn in range(rounds + 1):
        for size in SIZES:
            for provider, run_on in runs.items():
                if provider == "cpu" and size > 1:  # where the service runs no larger batch
                    continue
                seconds = _seconds(run_on, feeds[size])
                if turn:  # the first round warms
                    taken[provider, size].append(seconds)
    for provider in runs:
        took = {size: median(seconds) for (name, size), seconds in taken.items() if name == provider}
        best = max(size / seconds for size, seconds in took.items())
        found[provider] |= {"ms": {str(n): 1000 * seconds for n, seconds in took.items()}, "rows_per_s": best}
    for provider in runs:
        found[provider]["ratio"] = found[provider]["rows_per_s"] / found[next(iter(runs))]["rows_per_s"]
    return {
        **when_and_where(),
        "bundle": f"{bundle.manifest.name} {bundle.manifest.version}",
        "onnxruntime": onnxruntime.__version__,
        "tolerance": bundle.manifest.golden_tolerance,
        "rounds": rounds,
        "providers": found,
    }


def table(result: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "# One bundle on each execution provider",
        "",
        f"`python -m benchmarks.provider`, {result['date']}; {result['machine']}; {result['device']}; "
        f"onnxruntime {result['onnxruntime']}; {result['bundle']}, golden tolerance {result['tolerance']:g}; "
        f"medians of {result['rounds']} rounds; `cpu` is one thread.",
        "",
        f"| provider | golden gap | {' | '.join(f'ms, batch {n}' for n in SIZES)} | rows/s at best | of the first |",
        "|---" * (4 + len(SIZES)) + "|",
    ]
    for provider, r in result["providers"].items():
        if "error" in r:
            lines.append(f"| {provider} | {r['error']}" + " | " * (2 + len(SIZES)) + "|")
            continue
        took = " | ".join(f"{r['ms'][str(n)]:.1f}" if str(n) in r["ms"] else "" for n in SIZES)
        lines.append(f"| {provider} | {r['golden_gap']:.1e} | {took} | {r['rows_per_s']:.1f} | {r['ratio']:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--providers", nargs="+", choices=PROVIDERS, default=list(SERVED))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--device", default="no GPU", help="its name, for the document")
    parser.add_argument("--out", type=Path, help="a folder for DATE-provider.md and .json")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error("--rounds: 1 or more")
    result = run(read_bundle(given.bundle), given.providers, given.rounds) | {"device": given.device}
    hand_over(result, "provider", table(result), given.out)


if __name__ == "__main__":
    main()
