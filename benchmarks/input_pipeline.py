"""``python -m benchmarks.input_pipeline``: samples a second of the input pipeline, alone and with a model in the loop.

The yardstick is the same training step on one batch that stays in memory: what the model could do if input cost
nothing. It runs before and after the training measured, and ratios are taken against the mean of both, so that a
machine that slows down midway does not make the pipeline look bad or good. JSON on stdout, a table on stderr.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.clip import write_clip
from benchmarks.document import when_and_where
from contract.decision import Modality, TaskKind, TaskSpec
from contract.text import TextTokenizer
from contract.video import DecodeLimits
from training.config import RunConfig, read_config
from training.data.frames.frame_cache import FrameCache
from training.data.frames.frame_store import FrameStore
from training.data.frames.shards.pack import pack
from training.data.frames.shards.store import ShardStore
from training.data.loading.epoch_batches import training_batches
from training.data.loading.row_set import Batch, RowSet, row_set
from training.data.manifest import Manifest, Row
from training.data.manifest_io import read_manifest
from training.data.tokenizer import train_tokenizer
from training.fitting.predict import forward
from training.models.build import build_model

WORKERS = (0, 1, 2)
Step = Callable[[Batch], None]


def _generated(folder: Path, clips: int) -> Manifest:
    """Copies of one 4 s, 640x360 clip under as many names, each with a title."""
    first = folder / "0.mp4"
    write_clip(first, seconds=4, width=640, height=360, kbit_s=600)
    for i in range(1, clips):
        shutil.copyfile(first, folder / f"{i}.mp4")
    task = TaskSpec(name="any", kind=TaskKind.BINARY, labels=("no", "yes"), modalities=(Modality.VIDEO,))
    rows = tuple(
        Row(
            id=str(i),
            video=f"{i}.mp4",
            texts={"title": f"what the drone saw on day {i}"},
            labels={"any": task.labels[i % 2]},
            split="train",
            group=str(i),
        )
        for i in range(clips)
    )
    return Manifest(name="benchmark", tasks=(task,), media_root=str(folder), rows=rows)


def _decode(manifest: Manifest, config: RunConfig, folder: Path, workers: int) -> tuple[FrameCache, dict[str, Any]]:
    started = time.perf_counter()
    cache = FrameCache.build(
        manifest.rows, manifest.video_path, config.input_spec, DecodeLimits(), folder, workers=workers, progress=False
    )
    wall = time.perf_counter() - started
    return cache, {"workers": workers, "clips": len(cache.files), "samples_per_s": len(cache.files) / wall}


def _step(manifest: Manifest, config: RunConfig, device: str) -> Step:
    """One forward and backward pass and update; the loss is a stand-in, whose cost is nil beside them."""
    model = build_model(config, manifest.tasks, None, "student").to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5)
    precision = config.optimiser.precision if device == "cpu" else "fp32"

    def step(batch: Batch) -> None:
        moved = replace(batch, inputs={name: tensor.to(device) for name, tensor in batch.inputs.items()})
        loss = torch.stack([logits.square().mean() for logits in forward(model, moved, precision).values()]).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if device != "cpu":
            torch.cuda.synchronize()

    return step


def _timed(batches: Iterator[Batch], step: Step | None, steps: int) -> dict[str, float]:
    """Figures of the batches after the first, which pays for the start of workers."""
    started = time.perf_counter()
    batch = next(batches)
    first = time.perf_counter() - started
    if step is not None:
        step(batch)
    samples, waited, started = 0, 0.0, time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        samples += len(batch.inputs["video_present"])
        if step is not None:
            step(batch)
    wall = time.perf_counter() - started
    return {"first_batch_s": first, "samples_per_s": samples / wall, "waiting_share": waited / wall}


def _epochs(rows: RowSet, config: RunConfig, workers: int) -> Iterator[Batch]:
    """As many epochs as are asked for, in one pass: workers start once."""
    options = config.optimiser.model_copy(update={"video_repeat": 1000})
    return training_batches(rows, options, 0, 0, workers)


def _clip_rows(manifest: Manifest, config: RunConfig, store: FrameStore, tokenizer: Path) -> RowSet:
    clips = [row for row in manifest.rows if row.video is not None]
    return row_set(clips, manifest.tasks, config.input_spec, TextTokenizer(tokenizer, config.input_spec), store)


def run(manifest: Manifest | None, config: RunConfig, *, clips: int, steps: int, device: str) -> dict[str, Any]:
    """The benchmark's figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = _generated(folder, clips) if manifest is None else manifest
        rows = tuple(row for row in found.rows if row.video is not None)[:clips]
        found = found.model_copy(update={"rows": rows})
        decoded = [_decode(found, config, folder / f"cache{n}", n) for n in WORKERS[1:]]
        cache = decoded[0][0]
        started = time.perf_counter()
        index = pack(found, cache, str(folder / "shards"), progress=False)
        packing = time.perf_counter() - started
        store = ShardStore.open(str(folder / "shards"), found, config.input_spec, cache=None)
        tokenizer = folder / "tokenizer.json"
        texts = [text for row in rows for text in row.texts.values()] or ["nothing is said"]
        train_tokenizer(texts, config.model.text.vocab_size, tokenizer)
        sources = {"cache": cache, "shards": store}
        sets = {source: _clip_rows(found, config, held, tokenizer) for source, held in sources.items()}
        runs = [{"source": s, "workers": n} for s, n in itertools.product(sets, WORKERS)]
        alone = [r | _timed(_epochs(sets[r["source"]], config, r["workers"]), None, steps) for r in runs]
        step = _step(found, config, device)
        same = next(_epochs(sets["cache"], config, 0))
        yardstick = [_timed(itertools.repeat(same), step, steps)]
        trained = [r | _timed(_epochs(sets[r["source"]], config, r["workers"]), step, steps) for r in runs]
        yardstick.append(_timed(itertools.repeat(same), step, steps))
    best = sum(y["samples_per_s"] for y in yardstick) / len(yardstick)
    raw = sum(s.clips for s in index.shards) * torch.Size(config.input_spec.frames_shape).numel()
    return {
        **when_and_where(),
        "device": device if device == "cpu" else torch.cuda.get_device_name(),
        "threads": torch.get_num_threads(),
        "data": f"{len(rows)} clips of {'a generated' if manifest is None else 'the'} manifest {found.name}",
        "model": config.model.name,
        "batch": config.optimiser.video_batch,
        "steps": steps,
        "decode": [figures for _, figures in decoded],
        "pack": {
            "samples_per_s": len(rows) / packing,
            "share_of_raw_bytes": sum(s.bytes for s in index.shards) / raw,
        },
        "pipeline": [r | {"ratio_to_model": r["samples_per_s"] / best} for r in alone],
        "yardstick": yardstick,
        "training": [r | {"ratio_to_model": r["samples_per_s"] / best} for r in trained],
    }


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    about = "{date}; {machine}; {device}, {threads} thread(s); {data}; {model}, batches of {batch}, {steps} steps."
    lines = [
        about.format(**result),
        "",
        "| what | samples/s | ratio to the model alone | share of time waiting for input | first batch s |",
        "|---|---|---|---|---|",
    ]
    for r in result["decode"]:
        lines.append(f"| decoding into an empty cache, {r['workers']} worker(s) | {r['samples_per_s']:.1f} | | | |")
    share = result["pack"]["share_of_raw_bytes"]
    lines.append(f"| packing ({share:.2f} of the raw bytes) | {result['pack']['samples_per_s']:.1f} | | | |")
    for when, r in zip(("before", "after"), result["yardstick"], strict=True):
        lines.append(f"| model alone, {when} | {r['samples_per_s']:.1f} | 1 | | |")
    for what in ("pipeline", "training"):
        for r in result[what]:
            waiting = f"{r['waiting_share']:.3f}" if what == "training" else ""
            lines.append(
                f"| {what}, {r['source']}, {r['workers']} worker(s) | {r['samples_per_s']:.1f} "
                f"| {r['ratio_to_model']:.2f} | {waiting} | {r['first_batch_s']:.2f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, help="clips of this one; without it, generated ones")
    parser.add_argument("--config", type=Path, default=Path("configs/micro.yaml"))
    parser.add_argument("--clips", type=int, default=96, help="at most")
    parser.add_argument("--steps", type=int, default=40, help="of every measurement")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, help="a folder for DATE-input-pipeline.md and .json")
    options = parser.parse_args()
    manifest = None if options.manifest is None else read_manifest(options.manifest)
    config = read_config(options.config)
    result = run(manifest, config, clips=options.clips, steps=options.steps, device=options.device)
    sys.stderr.write(table(result))
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        stem = options.out / f"{result['date']}-input-pipeline"
        command = "python -m benchmarks.input_pipeline"
        heading = f"# The input pipeline, alone and with a model in the loop\n\n`{command}`, "
        stem.with_suffix(".md").write_text(heading + table(result))
        stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
