"""How the weight c_i enters the loss: three readings of "adaptive" (method.md 1.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from torch import Tensor

from training.config import DistillationConfig
from training.distillation.task_batch import TaskBatch, label_losses
from training.distillation.task_losses import distillation

WeightingFunction = Callable[[Tensor, Tensor, Tensor, float], Tensor]
_SMALLEST_MEAN = 1e-12
_SMALLEST_LAMBDA = 1e-6


def scale(hard_N: Tensor, soft_N: Tensor, weight_N: Tensor, lam: float) -> Tensor:
    """(1 - lambda) mean CE_i + lambda mean(c_i KD_i) (method.md 1.5, `scale`)."""
    return (1 - lam) * hard_N.mean() + lam * (weight_N * soft_N).mean()


def mix(hard_N: Tensor, soft_N: Tensor, weight_N: Tensor, lam: float) -> Tensor:
    """mean[(1 - lambda c_i) CE_i + lambda c_i KD_i] (method.md 1.5, `mix`): weight taken from
    distillation goes to the label loss.

    Written as `scale` plus lambda mean((1 - c_i) CE_i), so that c_i = 1 is PFD bit for bit. Weights above 1 / lambda
    (possible with ``per_class_norm``) count as 1 / lambda: the label's share is never negative.
    """
    weight_N = weight_N.clamp(max=1 / max(lam, _SMALLEST_LAMBDA))
    return scale(hard_N, soft_N, weight_N, lam) + lam * ((1 - weight_N) * hard_N).mean()


def norm(hard_N: Tensor, soft_N: Tensor, weight_N: Tensor, lam: float) -> Tensor:
    """`scale` with c_i / mean_batch(c) (method.md 1.5, `norm`): the same total as PFD, distributed differently."""
    return scale(hard_N, soft_N, mean_one(weight_N), lam)


def mean_one(weight_N: Tensor, dim: int | None = None) -> Tensor:
    """The weights divided by their mean, over all of them or along ``dim``; weights that are all 0 stay 0."""
    mean = weight_N.mean() if dim is None else weight_N.mean(dim=dim)
    return weight_N / mean.clamp(min=_SMALLEST_MEAN)


WEIGHTINGS: Final[dict[str, WeightingFunction]] = {"scale": scale, "mix": mix, "norm": norm}


def weighted_loss(batch: TaskBatch, config: DistillationConfig, weight_N: Tensor) -> Tensor:
    """The loss of the configured weighting under these weights, which must be detached.

    Raises:
        KeyError: no such weighting; the message lists those there are.
        ValueError: the batch holds no soft targets.
    """
    if config.weighting not in WEIGHTINGS:
        raise KeyError(f"no weighting {config.weighting!r}; there are: {', '.join(WEIGHTINGS)}")
    hard_N = label_losses(batch)
    soft_N = distillation(batch.logits_NK, batch.teacher_logits, batch.kind, config.temperature)
    return WEIGHTINGS[config.weighting](hard_N, soft_N, weight_N, config.lam)
