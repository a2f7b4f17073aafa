"""The frozen teacher's features of every training row, computed and stored once for methods that compare features."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.atomic_write import write_arrays
from training.data.loading.epoch_batches import evaluation_batches
from training.data.loading.row_set import RowSet, TeacherFeatures, with_privileged
from training.fitting.checkpoint import CheckpointCard, read_checkpoint
from training.fitting.processes import batch_to_device, world
from training.models.companions import summary
from training.models.df_xvlm import DFXVLM
from training.models.moment_xvlm import MomentXVLM
from training.models.xvlm import XVLM
from training.teachers.soft_targets import SoftTargetsError, stored_order

TEACHER_FEATURES_FILE = "teacher_features.npz"


def write_teacher_features(directory: Path, teacher_directory: Path, train: RowSet) -> Path:
    """Stores the teacher's features of every training row, (N, D_t) fp32, and the last layers of its heads.

    Returns:
        The file, which names the teacher's digest and the rows.

    Raises:
        SoftTargetsError: the file there is another teacher's, or this teacher has no representation to compare with.
    """
    path = directory / TEACHER_FEATURES_FILE
    model, card = read_checkpoint(teacher_directory)
    if path.exists():
        read_teacher_features(path, card, train)
        return path
    if not isinstance(model, DFXVLM | MomentXVLM | XVLM):
        raise SoftTargetsError(f"{teacher_directory}: a {card.role} has no representation that a student could follow")
    rows = train if card.privileged is None else with_privileged(train, card.privileged)
    classifiers = {f"classifier_{name}": values.detach().numpy() for name, values in model.classifiers().items()}
    directory.mkdir(parents=True, exist_ok=True)
    header = {"teacher_digest": card.digest(), "manifest_digest": card.manifest_digest}
    write_arrays(
        path,
        header=np.frombuffer(json.dumps(header).encode(), np.uint8),
        row_ids=np.asarray([row.id for row in train.rows]),
        represented=represent(model, rows),
        **classifiers,
    )
    return path


def read_teacher_features(path: Path, teacher: CheckpointCard, train: RowSet) -> TeacherFeatures:
    """The features in the order of ``train``'s rows.

    Raises:
        SoftTargetsError: the file is another teacher's or lacks a row.
    """
    with np.load(path, allow_pickle=False) as arrays:
        order = stored_order(path, arrays, teacher, train, "features")
        classifiers = {task.name: arrays[f"classifier_{task.name}"] for task in teacher.tasks}
        return TeacherFeatures(arrays["represented"][order], classifiers)


@torch.no_grad()
def represent(model: nn.Module, rows: RowSet, *, batch_size: int = 32) -> NDArray[np.float32]:
    """(N, D) fp32: what the heads of a ``DFXVLM`` or an ``XVLM`` read of every row, in the rows' order."""
    device = world().device
    model.to(device).eval()
    parts, order = [], []
    for positions, batch in evaluation_batches(rows, batch_size):
        moved = batch_to_device(batch, device)
        beside = {"privileged": moved.privileged} if isinstance(model, DFXVLM) else {}
        parts.append(summary(model.encode(**moved.inputs, **beside)).float().cpu().numpy())
        order.append(positions)
    represented_ND = np.concatenate(parts)
    represented_ND[np.concatenate(order)] = represented_ND.copy()
    return represented_ND
