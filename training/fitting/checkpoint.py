"""Checkpoints: tensors in one file, everything else in a JSON document that names the digests it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ValidationError
from torch import nn

from contract.bundle import file_digest
from contract.decision import DecisionPolicy, TaskSpec
from contract.frozen import FrozenDocument, GrowingDocument
from training.atomic_write import replacing, write_json
from training.config import RunConfig, faults_in
from training.data.privileged import PrivilegedStatistics
from training.errors import TrainingError
from training.models.build import Role, build_model

WEIGHTS_FILE = "weights.pt"
CARD_FILE = "checkpoint.json"
POLICY_FILE = "policy.json"
"""Beside the card where thresholds were fitted anew, for other operating points than the training's."""


class CheckpointError(TrainingError):
    """A checkpoint that cannot be used. The message names the file."""


class CheckpointCard(GrowingDocument):
    """``checkpoint.json``: a checkpoint's role, configuration, digests and decision policy."""

    first_fields: ClassVar = frozenset(
        {"role", "method", "config", "tasks", "policy", "privileged", "seed", "test_fold", "manifest_digest"}
        | {"teacher_digest", "tokenizer_digest", "weights_digest", "train_rows", "skipped_rows", "losses"}
    )

    role: Role
    method: str
    config: RunConfig
    tasks: tuple[TaskSpec, ...]
    policy: DecisionPolicy
    privileged: PrivilegedStatistics | None = None
    """The teacher's standardisation; a student has none."""
    seed: int
    test_fold: int | None
    manifest_digest: str
    teacher_digest: str | None = None
    tokenizer_digest: str
    weights_digest: str
    train_rows: int
    skipped_rows: int
    """Training rows left out because their clip could not be decoded."""
    losses: tuple[float, ...]
    """Mean training loss of each epoch."""
    epochs_kept: int | None = None
    """After how many epochs the weights are; None where it is all that were configured."""
    selection_digest: str | None = None
    """Of the card or cards whose epochs, temperatures and thresholds a refit took over."""
    rows_digest: str | None = None
    """SHA-256, in hex, of the ids of the rows trained and calibrated on; None on older checkpoints."""

    @property
    def temperatures(self) -> dict[str, float]:
        """Task -> calibration temperature, fitted on validation rows."""
        return {name: policy.temperature for name, policy in self.policy.tasks.items()}


def save_tensors(path: Path, state: dict[str, Any]) -> None:
    """Writes a torch file through ``replacing``.

    Raises:
        CheckpointError: it cannot be written, as where the disk is full.
    """
    try:
        with replacing(path) as partial:
            torch.save(state, partial)
    except RuntimeError as error:  # how torch says that less was written than it gave
        raise CheckpointError(f"{path}: cannot be written whole: is the disk full?") from error


def write_checkpoint(directory: Path, model: nn.Module, card: dict[str, Any]) -> CheckpointCard:
    """Writes the weights, then the card that names their digest; the card's presence says "done"."""
    save_tensors(directory / WEIGHTS_FILE, model.state_dict())
    done = CheckpointCard(**card, weights_digest=file_digest(directory / WEIGHTS_FILE))
    write_json(directory / CARD_FILE, done.model_dump(mode="json"))
    return done


def read_card(directory: Path) -> CheckpointCard:
    """The checkpoint's document.

    Raises:
        CheckpointError: it is missing or not one of this version.
    """
    path = directory / CARD_FILE
    try:
        return CheckpointCard.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}): a finished checkpoint is a folder that holds this file, such "
            "as cpfd in a trial's folder"
        ) from error
    except ValidationError as error:
        raise CheckpointError(f"{path}: {faults_in(error)}") from error


class LaterPolicy(FrozenDocument):
    """``policy.json``: a policy that takes the place of the card's, which stays what it was."""

    checkpoint: str
    """Digest of the card that it belongs to."""
    policy: DecisionPolicy


def read_policy(directory: Path) -> DecisionPolicy:
    """How the checkpoint's logits are read: by its card, or by the later policy beside it.

    Raises:
        CheckpointError: either cannot be read, or the later one is of another checkpoint.
    """
    card, path = read_card(directory), directory / POLICY_FILE
    if not path.exists():
        return card.policy
    try:
        later = LaterPolicy.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        why = faults_in(error) if isinstance(error, ValidationError) else error.strerror
        raise CheckpointError(f"{path}: {why}") from error
    if later.checkpoint != card.digest():
        raise CheckpointError(f"{path}: of another checkpoint than the one beside it: `repoint` again, or remove it")
    return later.policy


def read_checkpoint(directory: Path) -> tuple[nn.Module, CheckpointCard]:
    """The model in evaluation mode and its card.

    Raises:
        CheckpointError: the weights are missing, altered, or do not fit the card's architecture.
    """
    card = read_card(directory)
    path = directory / WEIGHTS_FILE
    if not path.is_file() or file_digest(path) != card.weights_digest:
        raise CheckpointError(f"{path}: missing, or not the weights that {CARD_FILE} names")
    model = build_model(card.config, card.tasks, card.privileged, card.role)
    try:
        model.load_state_dict(torch.load(path, weights_only=True))
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return model.eval(), card
