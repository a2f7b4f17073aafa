"""How a training is run: options that change memory, time and records, but not the weights. Part of no digest."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from contract.frozen import FrozenDocument


class Operation(FrozenDocument):
    """Options that leave the trained weights as they are."""

    gradient_checkpointing: bool = False
    """Computes the layers' activations again in the backward pass instead of keeping them."""
    save_every_steps: int | None = Field(default=None, ge=1)
    """How often the state to resume from is written, besides the end of every epoch and SIGTERM."""
    validate_epochs: bool = False
    """Predicts the validation rows after every epoch and records each task's PR-AUC."""
    track: Literal["tensorboard"] | None = None
    """Where losses, learning rate and samples per second are shown; nowhere by default."""
    log_dir: Path | None = None
    """Of the tracker; ``tensorboard`` in the checkpoint's folder by default."""


PLAIN_OPERATION: Final = Operation()
