"""Several teachers of the same rows as one: the mean of what they say, and how far they agree (method.md 1.8).

One teacher's own probability tells how sure it is, and a network is sure of much that it does not know. Where teachers
that read different things, and saw neither the row nor the same weights, say the same of it, there is more reason to
follow them. Neither number reads a label; and members that know nothing agree on that, so agreement is not knowledge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.decision import TaskKind, TaskSpec
from contract.frozen import FrozenDocument
from training.distillation.method import TeacherRecord
from training.distillation.task_losses import log_probabilities


class EnsembleCard(FrozenDocument):
    """The card of an ensemble, to which a student's card refers as to that of one teacher."""

    members: tuple[str, ...]
    """Digests of the members' cards."""
    tasks: tuple[TaskSpec, ...]
    temperatures: dict[str, float]
    """Task -> 1: what is averaged is calibrated already."""


@dataclass(frozen=True, eq=False)
class Opinion:
    """What an ensemble says of N rows of one task.

    Attributes:
        logits_NK: fp32, of the mean of the members' calibrated probabilities.
        agreement_N: (N,) or, multilabel, (N, K) fp32 in [0, 1]: what the members' distributions have in common.
    """

    logits_NK: NDArray[np.float32]
    agreement_N: NDArray[np.float32]


def opinion(members: Sequence[NDArray[np.float32]], temperatures: Sequence[float], kind: TaskKind) -> Opinion:
    """The mean p and the overlap sum_k min_m p_m[k]: 1 where all say the same, 0 where each is sure of another class.

    Of two members the overlap is one less their total variation distance.

    Args:
        members: logits (N, K) of each.
        temperatures: calibration temperature of each.
        kind: of the task.

    Raises:
        ValueError: there are fewer than two members, or not as many temperatures.
    """
    if len(members) < 2:
        raise ValueError(f"an ensemble has two or more teachers, not {len(members)}")
    log_p = torch.stack(
        [
            log_probabilities(torch.from_numpy(np.asarray(logits, np.float32)) / temperature, kind)
            for logits, temperature in zip(members, temperatures, strict=True)
        ]
    )
    mean = torch.logsumexp(log_p, dim=0) - math.log(len(members))
    overlap = log_p.amin(dim=0).exp().sum(dim=-1).clamp(0, 1)
    return Opinion(_logits(mean, kind).numpy(), overlap.numpy())


def ensemble(
    cards: Sequence[TeacherRecord],
    soft_targets: Sequence[Mapping[str, NDArray[np.float32]]],
) -> tuple[EnsembleCard, dict[str, Opinion]]:
    """The card of these teachers together, and task -> what they say of the training rows.

    Args:
        cards: of the members.
        soft_targets: task -> (N, K) logits of the training rows, of each member.
    """
    opinions = {
        task.name: opinion(
            [said[task.name] for said in soft_targets], [card.temperatures[task.name] for card in cards], task.kind
        )
        for task in cards[0].tasks
    }
    digests = tuple(card.digest() for card in cards)
    return EnsembleCard(members=digests, tasks=cards[0].tasks, temperatures=dict.fromkeys(opinions, 1.0)), opinions


def _logits(log_p: Tensor, kind: TaskKind) -> Tensor:
    """Those whose probabilities are given: (N, K) of (N, K) or, binary and multilabel, of (N, 2) and (N, K, 2)."""
    if kind is TaskKind.MULTICLASS:
        return log_p
    odds = log_p[..., 1] - log_p[..., 0]
    return odds[:, None] if kind is TaskKind.BINARY else odds
