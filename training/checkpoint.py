"""Checkpoints: tensors in one file, everything else in a JSON document that names the digests it was made from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from pydantic import SerializerFunctionWrapHandler, ValidationError, model_serializer
from torch import nn

from contract.bundle import file_digest
from contract.decision import DecisionPolicy, TaskSpec
from contract.frozen import FrozenDocument
from training.config import RunConfig, faults_in
from training.models.df_xvlm import DFXVLM, PrivilegedOnly
from training.models.xvlm import XVLM
from training.privileged import PrivilegedStatistics

WEIGHTS_FILE = "weights.pt"
CARD_FILE = "checkpoint.json"


Role = Literal["teacher", "student", "plain_teacher", "privileged_only_teacher"]
"""A ``teacher`` reads everything, a ``plain_teacher`` what the student reads, the last privileged features alone."""


class CheckpointError(Exception):
    """A checkpoint that cannot be used. The message names the file."""


class CheckpointCard(FrozenDocument):
    """What a checkpoint is and where it came from."""

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
    rows_digest: str | None = None
    """SHA-256, in hex, of the ids of the rows trained and calibrated on; None on older checkpoints."""

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the later field older cards keep their digests."""
        return {k: v for k, v in handler(self).items() if k != "rows_digest" or v is not None}

    @property
    def temperatures(self) -> dict[str, float]:
        """Task -> calibration temperature, fitted on validation rows."""
        return {name: policy.temperature for name, policy in self.policy.tasks.items()}


class TeacherRecord(Protocol):
    """What a student must know of whoever gave its soft targets: a checkpoint's card, or that of cross-fitted ones."""

    @property
    def tasks(self) -> tuple[TaskSpec, ...]:
        """That it gives logits for."""

    @property
    def temperatures(self) -> Mapping[str, float]:
        """Task -> calibration temperature."""

    def digest(self) -> str:
        """What the student's card names."""


def replace_text(path: Path, text: str) -> None:
    """Writes text through a temporary file, so that a killed run leaves the old file or the new one."""
    partial = path.with_suffix(f"{path.suffix}.{os.getpid()}.partial")  # trials of one experiment share some
    partial.write_text(text)
    os.replace(partial, path)  # noqa: PTH105 - atomic over an existing file on every platform


def write_json(path: Path, document: Any) -> None:
    """Writes JSON as ``replace_text`` does."""
    replace_text(path, json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n")


def save_tensors(path: Path, state: dict[str, Any]) -> None:
    """Writes a torch file through a temporary file."""
    partial = path.with_suffix(path.suffix + ".partial")
    torch.save(state, partial)
    os.replace(partial, path)  # noqa: PTH105


def build_model(
    config: RunConfig, tasks: tuple[TaskSpec, ...], statistics: PrivilegedStatistics | None, role: Role = "teacher"
) -> nn.Module:
    """A fresh model: a teacher where there are privileged statistics, else a student or a teacher like one.

    Raises:
        ValueError: a teacher that reads privileged features alone, where there are none.
    """
    spec = config.input_spec
    if statistics is None:
        return XVLM(config.model, spec, tasks)
    if role == "privileged_only_teacher":
        if not statistics.groups:
            raise ValueError("a teacher of privileged features alone needs some, and there are none")
        return PrivilegedOnly(config.model, config.teacher, tasks, statistics.widths)
    return DFXVLM(config.model, config.teacher, spec, tasks, statistics.widths)


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
