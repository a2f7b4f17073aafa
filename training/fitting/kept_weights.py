"""Which weights a training keeps: the last, an average of them over steps, or those of its best epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


def trained_state(model: nn.Module) -> State:
    """Every tensor of the model that training changes: what is frozen, with the buffers of its modules, is left out."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    for name, module in model.named_modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            frozen |= {f"{name}.{own}" if name else own for own, _ in module.named_buffers()}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


class KeptWeights:
    """Follows a model through its training and gives back the weights that are to be kept.

    Args:
        model: that is trained.
        decay: of the average, 0 for none. Early steps count more: the average is of no more steps than there were.
        best: whether the best epoch's are kept, and not the last's.
    """

    def __init__(self, model: nn.Module, decay: float, *, best: bool) -> None:
        self._model, self._decay, self._best = model, decay, best
        self._steps = 0
        self._own = trained_state(model)  # the tensors themselves: an optimiser changes them in place
        self._average: State | None = _copy(self._own) if decay > 0 else None
        self._kept: State | None = None
        self.score, self.epoch = -math.inf, -1

    @torch.no_grad()
    def after_step(self) -> None:
        """Takes the weights of one more step into the average."""
        self._steps += 1
        if self._average is None:
            return
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, tensor in self._own.items():
            if tensor.is_floating_point():
                self._average[name].lerp_(tensor, 1 - decay)
            else:
                self._average[name].copy_(tensor)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Within the block the model has the average's weights; without an average, its own."""
        if self._average is None:
            yield
            return
        own = _copy(self._own)
        _put(self._model, self._average)
        try:
            yield
        finally:
            _put(self._model, own)

    def after_epoch(self, epoch: int, score: float) -> None:
        """Remembers this epoch's weights if no earlier epoch's were as good; a NaN is better than nothing alone."""
        if self._best and (score > self.score or self._kept is None):
            self.score, self.epoch = (score if math.isfinite(score) else self.score), epoch
            self._kept = _copy(self._average or self._own)

    def restore(self) -> None:
        """Gives the model the weights that are to be kept."""
        chosen = self._kept if self._kept is not None else self._average
        if chosen is not None:
            _put(self._model, chosen)

    def state(self) -> dict[str, Any]:
        """What ``load`` takes up: to be saved with the training's state."""
        return {
            "steps": self._steps,
            "average": self._average,
            "kept": self._kept,
            "score": self.score,
            "epoch": self.epoch,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from what ``state`` gave."""
        self._steps, self.score, self.epoch = int(state["steps"]), float(state["score"]), int(state["epoch"])
        if self._average is not None:
            self._average = dict(state["average"])
        self._kept = state["kept"]


def _copy(state: Mapping[str, Tensor]) -> State:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def _put(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)
