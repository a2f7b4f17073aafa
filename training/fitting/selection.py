"""What earlier fits of the same model chose on validation rows, for a fit that has none left to choose on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from contract.decision import DecisionPolicy
from training.fitting.checkpoint import CheckpointCard


@dataclass(frozen=True)
class Selection:
    """Taken over by a fit whose validation rows decide nothing.

    Attributes:
        epochs: after which it ends; None trains all that are configured.
        policy: temperatures and thresholds.
        digest: SHA-256, in hex, of the cards it is of.
    """

    epochs: int | None
    policy: DecisionPolicy
    digest: str


Select = Callable[[str], Selection | None]
"""Name of a checkpoint's folder -> what was chosen for it; None where it is to choose for itself."""


def no_selection(name: str) -> None:
    """Every fit chooses for itself."""


def selection_of(card: CheckpointCard) -> Selection:
    """What one fit chose."""
    return Selection(card.epochs_kept, card.policy, card.digest())


def selection_of_all(cards: Sequence[CheckpointCard], policy: DecisionPolicy | None = None) -> Selection:
    """What several fits of one recipe chose: the median of their epochs, and one policy.

    Args:
        cards: one or more.
        policy: fitted on what all of them said; without one, the first card's with each temperature the median.
    """
    if policy is None:
        temperatures = {name: median(card.temperatures[name] for card in cards) for name in cards[0].policy.tasks}
        tasks = {
            name: task.model_copy(update={"temperature": temperatures[name]})
            for name, task in cards[0].policy.tasks.items()
        }
        policy = DecisionPolicy(tasks=tasks)
    epochs = [card.epochs_kept or card.config.optimiser.epochs for card in cards]
    digests = json.dumps([card.digest() for card in cards])
    return Selection(round(median(epochs)), policy, hashlib.sha256(digests.encode()).hexdigest())
