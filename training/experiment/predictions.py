"""A checkpoint's logits of held-out rows, stored beside it under its digest, so that no other's are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.decision import DecisionPolicy, OperatingPoint, TaskSpec
from training.atomic_write import write_arrays
from training.data.loading.row_set import RowSet
from training.data.manifest import Manifest, Row
from training.data.targets import TaskTargets, task_targets
from training.evaluation.calibration import fit_policy
from training.fitting.checkpoint import CheckpointCard, read_card, read_checkpoint
from training.fitting.predict import predict

PREDICTIONS_FILE = "predictions.npz"
VALIDATION_PREDICTIONS_FILE = "validation_predictions.npz"
"""Experiments from before it was written lack it; running one again adds it."""
_CHECKPOINT = "checkpoint"
"""The array that holds the digest of the checkpoint's card; files from before it was written lack it."""


class PredictionsError(ValueError):
    """Stored predictions that belong to another checkpoint or to other rows. The message names the file."""


def store(path: Path, card: CheckpointCard, arrays: Mapping[str, Any]) -> None:
    """Writes the arrays under the checkpoint's name, through a temporary file."""
    write_arrays(path, **arrays, **{_CHECKPOINT: np.asarray(card.digest())})


def is_stored(path: Path, card: CheckpointCard) -> bool:
    """Whether the file exists and is of this checkpoint, or names none."""
    if not path.exists():
        return False
    with np.load(path, allow_pickle=False) as arrays:
        return _CHECKPOINT not in arrays or str(arrays[_CHECKPOINT]) == card.digest()


def require_stored(path: Path) -> None:
    """Raises unless the file is of the checkpoint it lies beside.

    Raises:
        FileNotFoundError: there is no such file.
        PredictionsError: it is of another checkpoint.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if not is_stored(path, read_card(path.parent)):
        raise PredictionsError(f"{path}: of another checkpoint than the one beside it; remove it and resume the run")


def write_predictions(directory: Path, held_out: RowSet, file: str = PREDICTIONS_FILE) -> None:
    """Stores the checkpoint's logits (N, K) of these rows, task by task, beside it, instead of another checkpoint's."""
    path = directory / file
    if is_stored(path, read_card(directory)):
        return
    model, card = read_checkpoint(directory)
    logits = predict(model, held_out, card.tasks)
    arrays = {f"logits_{name}": values for name, values in logits.items()}
    store(path, card, {"row_ids": np.asarray([row.id for row in held_out.rows]), **arrays})


def take_over_predictions(source: Path, directory: Path) -> None:
    """Stores a selection's validation predictions beside its refit, which has seen the rows that they are of."""
    card = read_card(directory)
    if is_stored(directory / VALIDATION_PREDICTIONS_FILE, card):
        return
    with np.load(source / VALIDATION_PREDICTIONS_FILE, allow_pickle=False) as arrays:
        kept = {name: arrays[name] for name in arrays.files if name != _CHECKPOINT}
    store(directory / VALIDATION_PREDICTIONS_FILE, card, kept)


def read_predictions(directory: Path, test: RowSet) -> dict[str, NDArray[np.float32]]:
    """Task -> (N, K) logits of the test rows, as ``write_predictions`` stored them.

    Raises:
        FileNotFoundError: there are none.
        PredictionsError: they are of other rows or another checkpoint.
    """
    path = directory / PREDICTIONS_FILE
    require_stored(path)
    with np.load(path, allow_pickle=False) as arrays:
        if arrays["row_ids"].tolist() != [row.id for row in test.rows]:
            raise PredictionsError(f"{path}: predictions of other rows")
        return {name: arrays[f"logits_{name}"] for name in test.targets}


def labelled_logits(
    path: Path, task: TaskSpec, rows: Mapping[str, Row], head: TaskSpec | None = None
) -> tuple[list[Row], NDArray[np.float32]]:
    """The stored rows that are labelled for the task, and the logits (n, K) of ``head`` (of the task without one).

    Args:
        path: of predictions or soft targets.
        task: whose labels the rows must have.
        rows: of the manifest, by id.
        head: the task whose logits are read.
    """
    with np.load(path, allow_pickle=False) as arrays:
        stored = [rows[str(i)] for i in arrays["row_ids"]]
        labelled = np.asarray([task.name in row.labels for row in stored], np.bool_)
        logits_NK = arrays[(head or task).output_name][labelled]
    return [row for row, use in zip(stored, labelled, strict=True) if use], logits_NK


def policy_of(said: Sequence[Path], manifest: Manifest, points: Mapping[str, OperatingPoint]) -> DecisionPolicy:
    """Temperatures and thresholds, fitted on what one checkpoint or several, of one recipe, said of validation rows.

    Args:
        said: files of validation predictions; a row counts as often as it stands in them.
        manifest: of the rows.
        points: task -> what its threshold is chosen for; the highest F1 where nothing is said.
    """
    by_id = {row.id: row for row in manifest.rows}
    logits, targets = {}, list[TaskTargets]()
    for task in manifest.tasks:
        found = [labelled_logits(path, task, by_id) for path in said]
        logits[task.name] = np.concatenate([values for _, values in found])
        targets.append(task_targets([row for some, _ in found for row in some], task))
    return fit_policy(logits, targets, points)
