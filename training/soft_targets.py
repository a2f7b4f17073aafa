"""The frozen teacher's logits of every training row, computed once and read by every student."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.batches import RowSet, with_privileged
from training.checkpoint import CheckpointCard, read_checkpoint
from training.distillation.confidence import teacher_confidence
from training.engine import predict

SOFT_TARGETS_FILE = "soft_targets.npz"
DEGENERATE_CONFIDENCE = 0.98
"""Mean confidence on training rows above which CPFD can hardly differ from PFD (method note 1.6)."""


class SoftTargetsError(Exception):
    """Stored soft targets that belong to another teacher or other rows. The message names the file."""


def write_soft_targets(directory: Path, teacher_directory: Path, train: RowSet) -> Path:
    """Stores the teacher's logits (N, K), fp32, of every training row, task by task.

    Returns:
        The file, which names the teacher's digest and the rows.
    """
    path = directory / SOFT_TARGETS_FILE
    model, card = read_checkpoint(teacher_directory)
    if path.exists():
        read_soft_targets(path, card, train)
        return path
    if card.role == "student":
        raise SoftTargetsError(f"{teacher_directory}: not a teacher: it reads no privileged features")
    rows = train if card.privileged is None else with_privileged(train, card.privileged)
    logits = predict(model, rows, card.tasks)
    directory.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    header = {"teacher_digest": card.digest(), "manifest_digest": card.manifest_digest}
    np.savez(
        partial,
        header=np.frombuffer(json.dumps(header).encode(), np.uint8),
        row_ids=np.asarray([row.id for row in train.rows]),
        **{f"logits_{name}": values for name, values in logits.items()},
    )
    os.replace(partial, path)  # noqa: PTH105
    return path


def read_soft_targets(path: Path, teacher: CheckpointCard, train: RowSet) -> dict[str, NDArray[np.float32]]:
    """Task -> (N, K) logits in the order of ``train``'s rows.

    Raises:
        SoftTargetsError: the file is another teacher's or lacks a row.
    """
    with np.load(path, allow_pickle=False) as arrays:
        header = json.loads(arrays["header"].tobytes())
        if header["teacher_digest"] != teacher.digest():
            raise SoftTargetsError(f"{path}: soft targets of another teacher ({header['teacher_digest'][:12]}...)")
        position = {str(row_id): i for i, row_id in enumerate(arrays["row_ids"])}
        missing = [row.id for row in train.rows if row.id not in position]
        if missing:
            raise SoftTargetsError(f"{path}: no soft targets for {len(missing)} rows, the first being {missing[0]}")
        order = [position[row.id] for row in train.rows]
        return {task.name: arrays[f"logits_{task.name}"][order] for task in teacher.tasks}


def mean_confidence(
    logits: dict[str, NDArray[np.float32]], rows: RowSet, teacher: CheckpointCard, confidence: str
) -> dict[str, float]:
    """Task -> mean confidence of the teacher over the labelled rows."""
    means = {}
    for name, targets in rows.targets.items():
        if targets.labelled.any():
            values = teacher_confidence(
                confidence,
                torch.from_numpy(logits[name][targets.labelled]),
                torch.from_numpy(targets.values[targets.labelled]),
                targets.task.kind,
                teacher.policy.tasks[name].temperature,
            )
            means[name] = float(values.mean())
    return means
