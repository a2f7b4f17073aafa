"""The training benchmark: its figures hang together. No speed is asserted."""

from __future__ import annotations

import pytest

from benchmarks.train_step import measure
from training.config import RunConfig


@pytest.mark.parametrize("checkpointing", [False, True])
def test_figures_hang_together(tiny_config: RunConfig, checkpointing: bool) -> None:
    optimiser = tiny_config.optimiser.model_copy(update={"precision": "bf16"})
    config = tiny_config.model_copy(update={"optimiser": optimiser})
    figures = measure(config, batch=3, steps=2, checkpointing=checkpointing)
    assert (figures["model"], figures["precision"], figures["batch"]) == ("xvlm-tiny", "bf16", 3)
    assert figures["samples_per_s"] == pytest.approx(3 / figures["step_s"])
    assert figures["step_s"] <= figures["step_s_slowest"]
    assert figures["step_tflop"] > 0
    assert figures["share_of_peak"] == pytest.approx(
        figures["reached_tflop_per_s"] / figures["matmul_peak_tflop_per_s"]
    )


def test_twice_the_rows_are_twice_the_work(tiny_config: RunConfig) -> None:
    one, two = (measure(tiny_config, batch=n, steps=1) for n in (1, 2))
    assert two["step_tflop"] == pytest.approx(2 * one["step_tflop"])
