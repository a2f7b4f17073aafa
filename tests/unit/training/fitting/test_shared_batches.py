"""Shares: together they are the batch; a clip is augmented alike whoever reads it; parts add up to the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training.conftest import Toy
from tests.unit.training.fitting.several_processes import Case, assert_same_weights, train
from training.config import DistillationConfig, OptimiserConfig, RunConfig
from training.data.loading.epoch_batches import training_batches
from training.distillation.batch_loss import plan_loss
from training.fitting.shared_batches import divide, shared_batches

OPTIONS = OptimiserConfig(video_batch=8, text_batch=16, accumulation_steps=2)


def test_spans_cover_all_and_differ_by_one_at_most() -> None:
    assert divide(2, 9, 3) == ((2, 5), (5, 7), (7, 9))
    assert divide(0, 1, 3) == ((0, 1), (1, 1), (1, 1))


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_shares_are_the_batch_frames_and_all(toy: Toy, processes: int) -> None:
    rows = toy.parts["train"]
    shares = [shared_batches(rows, OPTIONS, 7, 1, rank=r, processes=processes) for r in range(processes)]
    for batch, *mine in zip(training_batches(rows, OPTIONS, 7, 1), *shares, strict=True):
        parts = [part for share in mine for part in share.parts if part.span[0] < part.span[1]]
        frames = torch.cat([part.inputs["frames"] for part in parts])
        assert torch.equal(frames, batch.inputs["frames"])
        assert [i for part in parts for i in range(*part.span)] == list(range(len(frames)))
        for share in mine:
            for name, task in batch.tasks.items():
                assert torch.equal(share.whole.tasks[name].positions_N, task.positions_N)


def test_an_epoch_is_taken_up_where_it_was_left(toy: Toy) -> None:
    rows = toy.parts["train"]
    whole = list(shared_batches(rows, OPTIONS, 7, 0))
    rest = list(shared_batches(rows, OPTIONS, 7, 0, start=2))
    assert len(rest) == len(whole) - 2
    for one, other in zip(whole[2:], rest, strict=True):
        assert torch.equal(one.parts[0].inputs["frames"], other.parts[0].inputs["frames"])


def test_parts_equal_the_whole(toy: Toy, tiny_config: RunConfig, tmp_path: Path) -> None:
    norm = DistillationConfig(weighting="norm")
    plain, weights = train(tmp_path, toy, tiny_config, Case("plain", "cpfd", norm))
    parted, parted_weights = train(tmp_path, toy, tiny_config, Case("parted", "cpfd", norm, parts=3))
    np.testing.assert_allclose(parted.steps.loss, plain.steps.loss, rtol=2e-5, atol=1e-6)
    assert_same_weights(parted_weights, weights)


def test_a_method_whose_rows_depend_on_each_other_takes_no_parts(toy: Toy, tiny_config: RunConfig) -> None:
    config = tiny_config.model_copy(update={"optimiser": OPTIONS})
    with pytest.raises(ValueError, match="accumulation_steps 1"):
        plan_loss("pckd_preview", config, None, toy.parts["train"], 0, 10)


def test_the_plain_option_is_left_out_of_the_document(tiny_config: RunConfig) -> None:
    assert "accumulation_steps" not in OptimiserConfig().model_dump()
    assert OPTIONS.model_dump()["accumulation_steps"] == 2
    assert RunConfig.model_validate(tiny_config.model_dump()).digest() == tiny_config.digest()
