"""The graph may see frames and text, all of them, and nothing else."""

from __future__ import annotations

import pytest
from onnx import ModelProto, TensorProto, helper

from contract.example import INPUT_NAMES
from model_export.errors import ExportError, ForbiddenInputError
from model_export.to_onnx import check_graph

OUTPUT = "logits_t"


def graph(inputs: tuple[str, ...], summed: tuple[str, ...], outputs: tuple[str, ...] = (OUTPUT,)) -> ModelProto:
    """A graph whose outputs are the sum of ``summed``."""
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in (*inputs, *outputs)}
    nodes = [helper.make_node("Sum", list(summed), [name]) for name in outputs]
    made = helper.make_graph(nodes, "g", [values[n] for n in inputs], [values[n] for n in outputs])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_frames_and_text_pass() -> None:
    check_graph(graph(INPUT_NAMES, INPUT_NAMES), [OUTPUT])


def test_a_reachable_privileged_input_is_refused_by_name() -> None:
    inputs = (*INPUT_NAMES, "privileged_flow")
    with pytest.raises(ForbiddenInputError, match="privileged_flow"):
        check_graph(graph(inputs, inputs), [OUTPUT])


def test_a_declared_but_unread_privileged_input_is_refused_too() -> None:
    with pytest.raises(ForbiddenInputError, match="privileged_flow"):
        check_graph(graph((*INPUT_NAMES, "privileged_flow"), INPUT_NAMES), [OUTPUT])


def test_an_input_that_nothing_reads_is_an_error() -> None:
    with pytest.raises(ExportError, match="video_present"):
        check_graph(graph(INPUT_NAMES, tuple(n for n in INPUT_NAMES if n != "video_present")), [OUTPUT])


def test_a_missing_output_is_an_error() -> None:
    with pytest.raises(ExportError, match="logits_other"):
        check_graph(graph(INPUT_NAMES, INPUT_NAMES), [OUTPUT, "logits_other"])
