"""Torch against ONNX: the same inputs must give the same logits, at every batch size and text length."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from contract.decision import TaskSpec
from contract.input_spec import InputSpec
from contract.model_graphs import ModelGraphs
from model_export.errors import ParityError

BATCH_SIZES = (1, 2, 3, 5)
MAX_ABS_DIFFERENCE = 1e-3
"""Of fp32 logits. What is measured is a thousandth of it; more means that the graph computes something else."""


def random_inputs(spec: InputSpec, batch: int, length: int, vocab_size: int, seed: int) -> dict[str, NDArray[Any]]:
    """Noise for frames, random ids and padding, and every mix of missing modalities."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, length + 1, size=batch)
    lengths[0] = length
    video_present = rng.random(batch) < 0.7
    text_present = (rng.random(batch) < 0.7) | ~video_present
    frames = rng.integers(0, 256, (batch, *spec.frames_shape), dtype=np.uint8)
    frames[~video_present] = 0
    return {
        "frames": frames,
        "input_ids": rng.integers(0, vocab_size, (batch, length), dtype=np.int64),
        "attention_mask": (np.arange(length)[None] < lengths[:, None]).astype(np.int64),
        "video_present": video_present,
        "text_present": text_present,
    }


@torch.no_grad()
def measure_parity(
    model: nn.Module,
    graphs: ModelGraphs,
    tasks: tuple[TaskSpec, ...],
    spec: InputSpec,
    vocab_size: int,
) -> float:
    """The largest absolute difference between torch's and the graphs' logits.

    Raises:
        ParityError: it is over ``MAX_ABS_DIFFERENCE``; the message names the case.
    """
    largest = 0.0
    lengths = sorted({3, spec.max_text_tokens // 2, spec.max_text_tokens} - {0, 1, 2})
    for seed, (batch, length) in enumerate(product(BATCH_SIZES, lengths)):
        inputs = random_inputs(spec, batch, length, vocab_size, seed)
        expected = model(**{name: torch.from_numpy(array) for name, array in inputs.items()})
        outputs = graphs.run(inputs)
        for task in tasks:
            difference = float(np.abs(expected[task.name].numpy() - outputs[task.name]).max())
            largest = max(largest, difference)
            if not difference <= MAX_ABS_DIFFERENCE:
                raise ParityError(
                    f"task {task.name}, batch {batch}, {length} tokens: ONNX differs from torch by {difference:.2e}, "
                    f"over {MAX_ABS_DIFFERENCE:.0e}"
                )
    return largest
