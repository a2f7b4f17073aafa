"""Student -> ONNX graph: uint8 frames and text in, logits out; batch size and text length are dynamic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from contract.example import INPUT_NAMES
from contract.input_spec import InputSpec
from model_export.errors import ExportError, ForbiddenInputError
from training.fitting.checkpoint import CheckpointCard
from training.models.xvlm import XVLM

OPSET = 20


class _OrderedLogits(nn.Module):
    """The student with its logits as a tuple in the order of the tasks, as the graph's outputs are named."""

    def __init__(self, student: XVLM) -> None:
        super().__init__()
        self.student = student

    def forward(
        self, frames: Tensor, input_ids: Tensor, attention_mask: Tensor, video_present: Tensor, text_present: Tensor
    ) -> tuple[Tensor, ...]:
        logits = self.student(frames, input_ids, attention_mask, video_present, text_present)
        return tuple(logits[name] for name in self.student.task_names)


def export_onnx(model: nn.Module, card: CheckpointCard, path: Path) -> None:
    """Writes the checked graph of a student.

    Args:
        model: in evaluation mode.
        card: of its checkpoint.
        path: the file to write.

    Raises:
        ForbiddenInputError: the model is a teacher, or its graph reaches an input beyond frames and text.
        ExportError: the exported graph lacks an input or an output.
    """
    if card.role != "student" or not isinstance(model, XVLM):
        raise ForbiddenInputError(
            f"this checkpoint is a {card.role}, not a student: what teachers read may hold privileged features, which "
            "are not there at upload time"
        )
    inputs = example_inputs(card.config.input_spec, batch=2, length=12)
    batch, length = Dim("batch", min=1, max=1024), Dim("text_length", min=3, max=card.config.input_spec.max_text_tokens)
    over_text = {0: batch, 1: length}
    program = torch.onnx.export(
        _OrderedLogits(model).eval(),
        kwargs=inputs,
        dynamo=True,
        opset_version=OPSET,
        input_names=list(INPUT_NAMES),
        output_names=[task.output_name for task in card.tasks],
        dynamic_shapes={
            "frames": {0: batch},
            "input_ids": over_text,
            "attention_mask": over_text,
            "video_present": {0: batch},
            "text_present": {0: batch},
        },
        verbose=False,
    )
    if program is None:
        raise ExportError("the exporter returned nothing")
    graph = program.model_proto
    strip_notes(graph)
    check_graph(graph, [task.output_name for task in card.tasks])
    onnx.save(graph, str(path))


def strip_notes(model: Any) -> None:
    """Removes what the exporter noted beside the graph: stack traces with this machine's paths, inferred shapes."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    del model.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]


def example_inputs(spec: InputSpec, *, batch: int, length: int) -> dict[str, Tensor]:
    """Zeros of the right shapes and types, both modalities present."""
    return {
        "frames": torch.zeros((batch, *spec.frames_shape), dtype=torch.uint8),
        "input_ids": torch.zeros((batch, length), dtype=torch.int64),
        "attention_mask": torch.ones((batch, length), dtype=torch.int64),
        "video_present": torch.ones(batch, dtype=torch.bool),
        "text_present": torch.ones(batch, dtype=torch.bool),
    }


def check_graph(model: Any, output_names: list[str]) -> None:
    """Checks that frames and text are all the graph can see, whatever its inputs are called elsewhere.

    Args:
        model: an ``onnx.ModelProto``.
        output_names: what must come out.

    Raises:
        ForbiddenInputError: another input is declared or reachable from an output.
        ExportError: an input or output is missing, or the graph is not valid ONNX.
    """
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the exported graph is not valid ONNX: {error}") from error
    weights = {tensor.name for tensor in model.graph.initializer}
    declared = {value.name for value in model.graph.input} - weights
    reached = _reachable(model.graph, output_names) & declared
    forbidden = sorted((declared | reached) - set(INPUT_NAMES))
    if forbidden:
        raise ForbiddenInputError(f"the graph reads more than frames and text: {', '.join(forbidden)}")
    unread = sorted(set(INPUT_NAMES) - reached)
    if unread:
        raise ExportError(f"no output depends on {', '.join(unread)}")
    missing = sorted(set(output_names) - {value.name for value in model.graph.output})
    if missing:
        raise ExportError(f"the graph lacks the outputs {', '.join(missing)}")


def _reachable(graph: Any, output_names: list[str]) -> set[str]:
    """Every value that some output depends on."""
    producer = {name: node for node in graph.node for name in node.output}
    seen: set[str] = set()
    waiting = list(output_names)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in producer:
            waiting += [value for value in producer[name].input if value]
    return seen
