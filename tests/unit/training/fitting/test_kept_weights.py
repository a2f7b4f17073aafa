"""Which weights a training keeps."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from training.fitting.kept_weights import KeptWeights, trained_state


def _model(value: float = 0.0) -> nn.Linear:
    model = nn.Linear(2, 1)
    _set(model, value)
    return model


@torch.no_grad()
def _set(model: nn.Module, value: float) -> None:
    for parameter in model.parameters():
        parameter.fill_(value)


def _value(model: nn.Linear) -> float:
    values = torch.cat([model.weight.flatten(), model.bias]).tolist()
    assert len(set(values)) == 1
    return float(values[0])


def test_frozen_parts_and_their_buffers_are_no_part_of_what_is_kept() -> None:
    model = nn.ModuleDict({"tower": nn.BatchNorm1d(2), "norm": nn.BatchNorm1d(2), "head": nn.Linear(2, 1)})
    model["tower"].requires_grad_(False)
    model["head"].bias.requires_grad_(False)
    buffers = {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert set(trained_state(model)) == {"head.weight", "norm.weight", "norm.bias"} | buffers
    kept = KeptWeights(model, 0.5, best=False)
    model["tower"].running_mean.fill_(7.0)
    model["norm"].num_batches_tracked.fill_(3)
    kept.after_step()
    model["norm"].num_batches_tracked.fill_(9)
    kept.restore()
    assert model["tower"].running_mean.tolist() == [7.0, 7.0]
    assert model["norm"].num_batches_tracked.item() == 3  # a count is copied, not averaged


def test_the_average_counts_early_steps_more() -> None:
    model, values = _model(1.0), [4.0, -2.0, 10.0, 3.0]
    kept, expected = KeptWeights(model, 0.3, best=False), 1.0
    for step, value in enumerate(values, 1):
        _set(model, value)
        kept.after_step()
        decay = (2 / 11, 3 / 12, 0.3, 0.3)[step - 1]
        expected = decay * expected + (1 - decay) * value
    with kept.shown():
        assert _value(model) == pytest.approx(expected)
    assert _value(model) == values[-1]
    kept.restore()
    assert _value(model) == pytest.approx(expected)


def test_without_an_average_the_last_weights_stay() -> None:
    model = _model()
    kept = KeptWeights(model, 0.0, best=False)
    for epoch, score in enumerate([0.9, 0.1]):
        _set(model, epoch + 1.0)
        kept.after_step()
        kept.after_epoch(epoch, score)
    with kept.shown():
        assert _value(model) == 2.0
    kept.restore()
    assert _value(model) == 2.0


@pytest.mark.parametrize(
    ("scores", "best"),
    [([0.2, 0.7, 0.5], 1), ([0.7, 0.7, 0.1], 0), ([math.nan, 0.1, math.nan], 1), ([math.nan] * 3, 0)],
)
def test_the_best_epoch_is_kept(scores: list[float], best: int) -> None:
    model = _model()
    kept = KeptWeights(model, 0.0, best=True)
    for epoch, score in enumerate(scores):
        _set(model, epoch + 1.0)
        kept.after_epoch(epoch, score)
    kept.restore()
    assert (kept.epoch, _value(model)) == (best, best + 1.0)


def test_a_training_that_is_taken_up_keeps_what_it_would_have_kept() -> None:
    def train(model: nn.Linear, kept: KeptWeights, epochs: range) -> None:
        for epoch in epochs:
            _set(model, float(epoch**2))
            kept.after_step()
            kept.after_epoch(epoch, [0.1, 0.6, 0.4, 0.7, 0.2][epoch])

    whole, first, second = _model(), _model(), _model()
    straight, stopped = KeptWeights(whole, 0.9, best=True), KeptWeights(first, 0.9, best=True)
    train(whole, straight, range(5))
    train(first, stopped, range(2))
    second.load_state_dict(first.state_dict())
    resumed = KeptWeights(second, 0.9, best=True)
    resumed.load(copy.deepcopy(stopped.state()))
    assert (resumed.epoch, resumed.score) == (1, 0.6)
    train(second, resumed, range(2, 5))
    straight.restore()
    resumed.restore()
    assert (resumed.epoch, _value(second)) == (3, _value(whole))
