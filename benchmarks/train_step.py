"""What a training step costs: samples per second, and the share of the device's matrix-multiplication peak it reaches.

The peak is measured in the same run, in the same precision: the fastest of several large products. Frames and tokens
are made up, and lie in memory: neither decoding nor reading is measured.

    python -m benchmarks.train_step --config configs/base.yaml --steps 20
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from contract.decision import Modality, TaskKind, TaskSpec
from training.config import RunConfig, read_config
from training.data.loading.row_set import Batch, TaskRows
from training.distillation.task_losses import cross_entropy
from training.fitting.operation import Operation
from training.fitting.processes import close, open_accelerator, world
from training.fitting.shared_batches import Part, SharedBatch
from training.fitting.train_step import train_step
from training.models.gradient_checkpointing import checkpoint_layers
from training.models.trained import Trained
from training.models.xvlm import XVLM

TASK = TaskSpec(name="made_up", kind=TaskKind.BINARY, labels=("no", "yes"), modalities=(Modality.VIDEO, Modality.TEXT))
_PEAK_SIDE = {"cuda": 8192, "cpu": 1024}
_PEAK_REPEATS = 10
_WARM_UP = 2


def measure(config: RunConfig, *, batch: int, steps: int, checkpointing: bool = False) -> dict[str, Any]:
    """The figures of one process, in the configuration's precision.

    Args:
        config: of the model and its input.
        batch: rows of a step, each with a clip and a text of full length.
        steps: that are timed, after two that are not.
        checkpointing: of gradients; what is computed again counts as time, not as work.
    """
    precision = config.optimiser.precision
    accelerator = open_accelerator(precision, Operation(), Path())
    torch.manual_seed(0)
    network = XVLM(config.model, config.input_spec, (TASK,))
    made_up = _batch(config, batch)
    work = _flops(network, made_up)
    if checkpointing:
        checkpoint_layers(network)
    model = accelerator.prepare_model(Trained(network)).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.optimiser.lr)

    def step() -> None:
        train_step(model, made_up, _loss, 0, accelerator)
        accelerator.clip_grad_norm_(model.parameters(), config.optimiser.clip_norm)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    took_s = [_seconds(step) for _ in range(_WARM_UP + steps)][_WARM_UP:]
    typical_s, peak = median(took_s), _matmul_peak(accelerator.device, precision)
    return {
        "model": config.model.name,
        "device": _name(accelerator.device),
        "torch": torch.__version__,
        "precision": precision,
        "gradient_checkpointing": checkpointing,
        "batch": batch,
        "steps": steps,
        "samples_per_s": batch / typical_s,
        "step_s": typical_s,
        "step_s_slowest": max(took_s),
        "step_tflop": work / 1e12,
        "reached_tflop_per_s": work / typical_s / 1e12,
        "matmul_peak_tflop_per_s": peak / 1e12,
        "share_of_peak": work / typical_s / peak,
        "peak_memory_gb": _peak_memory_gb(accelerator.device),
    }


def _loss(batch: Batch, outputs: Any, index: int) -> Tensor:
    rows = batch.tasks[TASK.name]
    return cross_entropy(outputs[TASK.name], rows.targets, TASK.kind).mean()


def _batch(config: RunConfig, size: int) -> SharedBatch:
    generator = torch.Generator().manual_seed(0)
    spec = config.input_spec
    tokens = (size, spec.max_text_tokens)
    inputs = {
        "frames": torch.randint(0, 256, (size, *spec.frames_shape), dtype=torch.uint8, generator=generator),
        "input_ids": torch.randint(0, config.model.text.vocab_size, tokens, generator=generator),
        "attention_mask": torch.ones(tokens, dtype=torch.long),
        "video_present": torch.ones(size, dtype=torch.bool),
        "text_present": torch.ones(size, dtype=torch.bool),
    }
    targets = torch.randint(0, 2, (size,), generator=generator).float()
    whole = Batch({}, {}, {TASK.name: TaskRows(TASK, torch.arange(size), targets, None)})
    return SharedBatch(size, whole, ((0, size),), (Part((0, size), inputs, {}),))


def _flops(network: nn.Module, batch: SharedBatch) -> int:
    """Floating-point operations of a step's matrix products, forward and backward, counted on one row."""
    row = {name: value[:1] for name, value in batch.parts[0].inputs.items()}
    with FlopCounterMode(display=False) as counter:
        network(**row)[TASK.name].sum().backward()
    network.zero_grad(set_to_none=True)
    return counter.get_total_flops() * batch.size


def _matmul_peak(device: torch.device, precision: str) -> float:
    """The most floating-point operations per second of a large square product."""
    side = _PEAK_SIDE.get(device.type, 2048)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    fastest_s = min(_seconds(lambda: left @ right) for _ in range(_PEAK_REPEATS))
    return 2 * side**3 / fastest_s


def _seconds(work: Any) -> float:
    _synchronise()
    started = time.perf_counter()
    work()
    _synchronise()
    return time.perf_counter() - started


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type}, {torch.get_num_threads()} threads"


def _peak_memory_gb(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/base.yaml"))
    parser.add_argument("--batch", type=int, help="rows of a step; the configuration's video_batch by default")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    given = parser.parse_args()
    config = read_config(given.config)
    optimiser = config.optimiser.model_copy(update={"precision": given.precision})
    if world().num_processes > 1:
        parser.error("measures one process")
    figures = measure(
        config.model_copy(update={"optimiser": optimiser}),
        batch=given.batch or config.optimiser.video_batch,
        steps=given.steps,
        checkpointing=given.gradient_checkpointing,
    )
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    close()


if __name__ == "__main__":
    main()
