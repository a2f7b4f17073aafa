"""The frozen teacher's logits of every training row, computed and stored once for all students."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.atomic_write import write_arrays
from training.data.loading.row_set import RowSet, with_privileged
from training.distillation.confidence import teacher_confidence
from training.distillation.method import TeacherRecord
from training.errors import TrainingError
from training.fitting.checkpoint import CheckpointCard, read_checkpoint
from training.fitting.predict import predict
from training.teachers.cross_fitting import CrossFitCard, Parts, cross_fit_card, out_of_fold_logits, parts_digest

SOFT_TARGETS_FILE = "soft_targets.npz"
DEGENERATE_CONFIDENCE = 0.98
"""Mean confidence on training rows above which CPFD can hardly differ from PFD (method.md 1.6)."""
DEGENERATE_SPREAD = 0.02
"""Standard deviation of the confidence on training rows below which weighing by it is hardly weighing."""


class SoftTargetsError(TrainingError):
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
    _store(path, {"teacher_digest": card.digest(), "manifest_digest": card.manifest_digest}, train, logits)
    return path


def write_cross_fitted(
    directory: Path, teachers: Sequence[Path], cards: Sequence[CheckpointCard], train: RowSet, parts: Parts
) -> tuple[Path, CrossFitCard]:
    """Stores the out-of-fold logits (N, K), fp32, of every training row, task by task.

    Args:
        directory: where the file goes; one that is there and of the same teachers and parts is not made again.
        teachers: folder of each part's teacher, which did not see it.
        cards: of the same.
        train: without privileged features.
        parts: (N,) of ``train``'s rows.

    Returns:
        The file, which holds the teachers' card and each row's part, and the card.

    Raises:
        SoftTargetsError: the file is there and of other teachers or other parts.
    """
    path = directory / SOFT_TARGETS_FILE
    if path.exists():
        card = CrossFitCard.model_validate(_header(path).get("cross_fit"))
        made_from = (card.teachers, card.parts_digest)
        if made_from != (tuple(one.digest() for one in cards), parts_digest(train.rows, parts)):
            raise SoftTargetsError(f"{path}: out-of-fold soft targets of other teachers or other parts")
        return path, card
    logits = out_of_fold_logits(teachers, train, parts, cards[0].tasks)
    card = cross_fit_card(cards, train, parts, logits)
    header = {"teacher_digest": card.digest(), "manifest_digest": card.manifest_digest}
    _store(path, header | {"cross_fit": card.model_dump(mode="json")}, train, logits, parts=parts)
    return path, card


def _store(path: Path, header: dict[str, Any], train: RowSet, logits: dict[str, Any], **arrays: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(
        path,
        header=np.frombuffer(json.dumps(header).encode(), np.uint8),
        row_ids=np.asarray([row.id for row in train.rows]),
        **{f"logits_{name}": values for name, values in logits.items()},
        **arrays,
    )


def _header(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(json.loads(arrays["header"].tobytes()))


def read_soft_targets(path: Path, teacher: TeacherRecord, train: RowSet) -> dict[str, NDArray[np.float32]]:
    """Task -> (N, K) logits in the order of ``train``'s rows.

    Raises:
        SoftTargetsError: the file is another teacher's or lacks a row.
    """
    with np.load(path, allow_pickle=False) as arrays:
        order = stored_order(path, arrays, teacher, train, "soft targets")
        return {task.name: arrays[f"logits_{task.name}"][order] for task in teacher.tasks}


def stored_order(path: Path, arrays: Any, teacher: TeacherRecord, train: RowSet, what: str) -> list[int]:
    """Position of each of ``train``'s rows in this teacher's file; ``arrays`` are the opened ``path``'s.

    Raises:
        SoftTargetsError: the file is another teacher's or lacks a row.
    """
    header = json.loads(arrays["header"].tobytes())
    if header["teacher_digest"] != teacher.digest():
        raise SoftTargetsError(f"{path}: {what} of another teacher ({header['teacher_digest'][:12]}...)")
    position = {str(row_id): i for i, row_id in enumerate(arrays["row_ids"])}
    missing = [row.id for row in train.rows if row.id not in position]
    if missing:
        raise SoftTargetsError(f"{path}: no {what} for {len(missing)} rows, the first being {missing[0]}")
    return [position[row.id] for row in train.rows]


def row_confidence(
    logits: Mapping[str, NDArray[np.float32]], rows: RowSet, teacher: TeacherRecord, confidence: str
) -> dict[str, Tensor]:
    """Task -> confidence c_i in each labelled row, (n,) or, multilabel, (n, K); a task without any is left out."""
    return {
        name: teacher_confidence(
            confidence,
            torch.from_numpy(logits[name][targets.labelled]),
            torch.from_numpy(targets.values[targets.labelled]),
            targets.task.kind,
            teacher.temperatures[name],
        )
        for name, targets in rows.targets.items()
        if targets.labelled.any()
    }
