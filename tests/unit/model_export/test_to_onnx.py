"""The graph of a student: its inputs, its outputs in order, any batch and length; and what is never exported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto
from torch import nn

from contract.bundle_manifest import MODEL_FILE, WHOLE
from contract.example import INPUT_NAMES
from model_export import to_onnx
from model_export.errors import ExportError, ForbiddenInputError
from model_export.parity import random_inputs
from model_export.to_onnx import OPSET, ExportedGraphs, example_inputs, export_graphs
from tests.unit.model_export.conftest import TASKS, Untrained
from tests.unit.model_export.test_graph_check import graph
from training.fitting.checkpoint import read_checkpoint

OUTPUTS = [task.output_name for task in TASKS]


@pytest.fixture(scope="module")
def exported(untrained: Untrained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student's graph, as torch exports it."""
    directory = tmp_path_factory.mktemp("exported")
    written = export_graphs(*read_checkpoint(untrained.checkpoint), directory)
    assert written == ExportedGraphs({WHOLE: MODEL_FILE})
    return directory / MODEL_FILE


def test_the_graph_reads_and_gives_what_the_contract_names(exported: Path) -> None:
    model = onnx.load(str(exported))
    assert tuple(value.name for value in model.graph.input) == INPUT_NAMES
    assert [value.name for value in model.graph.output] == OUTPUTS
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]


@pytest.mark.parametrize(("batch", "length"), [(1, 3), (1, 15), (4, 7)])
def test_any_batch_and_length_gives_the_logits_of_each_task_in_order(
    untrained: Untrained, exported: Path, batch: int, length: int
) -> None:
    model, card = read_checkpoint(untrained.checkpoint)
    inputs = random_inputs(card.config.input_spec, batch, length, vocab_size=14, seed=1)
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = model(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    for task, found in zip(TASKS, session.run(None, inputs), strict=True):
        assert found.shape == (batch, task.logits_width)
        np.testing.assert_allclose(found, expected[task.name].numpy(), atol=1e-4)


def test_nothing_that_the_exporter_noted_is_left(exported: Path) -> None:
    model = onnx.load(str(exported))
    values = (*model.graph.input, *model.graph.output, *model.graph.initializer)
    assert not [value.name for value in (*values, *model.graph.node) if value.metadata_props]
    assert not [node.name for node in model.graph.node if node.doc_string]
    assert not model.metadata_props
    assert not model.graph.metadata_props
    assert not model.graph.value_info


def test_examples_to_trace_hold_both_modalities(untrained: Untrained) -> None:
    spec = untrained.card.config.input_spec
    made = example_inputs(spec, batch=2, length=5)
    assert tuple(made) == INPUT_NAMES
    assert {name: (tuple(value.shape), value.dtype) for name, value in made.items()} == {
        "frames": ((2, *spec.frames_shape), torch.uint8),
        "input_ids": ((2, 5), torch.int64),
        "attention_mask": ((2, 5), torch.int64),
        "video_present": ((2,), torch.bool),
        "text_present": ((2,), torch.bool),
    }
    assert all(bool(made[name].all()) for name in ("attention_mask", "video_present", "text_present"))


def _refused(untrained: Untrained, directory: Path, model: nn.Module | None = None, **card: Any) -> str:
    """Why nothing was written."""
    with pytest.raises(ExportError) as refused:
        export_graphs(
            model or read_checkpoint(untrained.checkpoint)[0], untrained.card.model_copy(update=card), directory
        )
    assert not list(directory.iterdir())
    assert isinstance(refused.value, ForbiddenInputError) == ("privileged" in str(refused.value))
    return str(refused.value)


@pytest.mark.parametrize("role", ["teacher", "plain_teacher", "privileged_only_teacher"])
def test_a_teacher_is_refused_even_where_its_model_is_a_students(
    untrained: Untrained, tmp_path: Path, role: str
) -> None:
    assert f"this checkpoint is a {role}, " in _refused(untrained, tmp_path, role=role)


def test_another_model_is_refused_even_where_its_card_says_student(untrained: Untrained, tmp_path: Path) -> None:
    assert "student" in _refused(untrained, tmp_path, nn.Linear(1, 1))


class _Exporter:
    """Stands for torch's: gives a graph, or nothing, and keeps what it was asked."""

    def __init__(self, made: ModelProto | None) -> None:
        self._made = made

    def __call__(self, *_: Any, **__: Mapping[str, Any]) -> Any:
        return None if self._made is None else SimpleNamespace(model_proto=self._made)


def test_a_graph_that_reads_a_privileged_input_is_never_written(
    untrained: Untrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = (*INPUT_NAMES, "privileged_flow")
    monkeypatch.setattr(to_onnx.torch.onnx, "export", _Exporter(graph(inputs, inputs, tuple(OUTPUTS))))
    assert _refused(untrained, tmp_path).endswith("privileged_flow")


def test_a_graph_without_one_of_the_tasks_is_never_written(
    untrained: Untrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_onnx.torch.onnx, "export", _Exporter(graph(INPUT_NAMES, INPUT_NAMES, (OUTPUTS[0],))))
    assert OUTPUTS[1] in _refused(untrained, tmp_path)


def test_an_exporter_that_gives_nothing_is_an_error(
    untrained: Untrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_onnx.torch.onnx, "export", _Exporter(None))
    assert "nothing" in _refused(untrained, tmp_path)
