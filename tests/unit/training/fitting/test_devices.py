"""A batch on another device: everything it holds goes there, and nothing is lost on the way."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from contract.decision import Modality, TaskKind, TaskSpec
from training.data.loading.row_set import Batch, TaskRows
from training.fitting.processes import batch_to_device

TASK = TaskSpec(name="violence", kind=TaskKind.BINARY, labels=("calm", "violent"), modalities=(Modality.VIDEO,))
ROWS = TaskRows(
    TASK,
    torch.arange(3),
    torch.ones(3),
    teacher_NK=torch.ones(3, 1),
    features_ND=torch.ones(3, 5),
)


@pytest.mark.parametrize("field", [field.name for field in fields(TaskRows) if field.name != "task"])
def test_every_tensor_of_a_tasks_rows_is_moved(field: str) -> None:
    assert getattr(ROWS, field) is not None, "give it a value above"
    batch = Batch({"frames": torch.ones(3, 2)}, {"flow": (torch.ones(3, 4), torch.ones(3, 4))}, {TASK.name: ROWS})
    moved = batch_to_device(batch, torch.device("meta"))
    assert getattr(moved.tasks[TASK.name], field).device.type == "meta"
    assert getattr(moved.tasks[TASK.name], field).shape == getattr(ROWS, field).shape
    assert moved.inputs["frames"].device.type == "meta"
    assert {part.device.type for part in moved.privileged["flow"]} == {"meta"}


def test_what_no_teacher_gave_stays_none() -> None:
    bare = TaskRows(TASK, torch.arange(3), torch.ones(3), None)
    moved = batch_to_device(Batch({}, {}, {TASK.name: bare}), torch.device("meta")).tasks[TASK.name]
    assert (moved.teacher_NK, moved.features_ND) == (None, None)
