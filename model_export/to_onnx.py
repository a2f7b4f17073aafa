"""Student -> ONNX graph: uint8 frames and text in, logits out; batch size and text length are dynamic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.export import Dim

from contract.bundle_manifest import MODEL_FILE, REST, REST_FILE, VISION, VISION_FILE, WHOLE
from contract.example import INPUT_NAMES
from contract.input_spec import InputSpec
from contract.model_graphs import FEATURES, MOMENTS
from model_export.errors import ExportError, ForbiddenInputError
from training.fitting.checkpoint import CheckpointCard
from training.models.moment_xvlm import MomentXVLM
from training.models.xvlm import XVLM

OPSET = 20
_SMALLEST_HALVED = 4096
"""Elements of a tensor that is stored in fp16."""


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


class _Vision(nn.Module):
    """The vision tower: the pictures of moments -> their statistics."""

    def __init__(self, student: MomentXVLM) -> None:
        super().__init__()
        self.trunk = student.vision_encoder.trunk

    def forward(self, moments: Tensor) -> Tensor:
        return self.trunk.moments(moments)


class _Rest(nn.Module):
    """What reads the vision tower's output: logits in the order of the tasks, then evidence of those that have any."""

    def __init__(self, student: MomentXVLM) -> None:
        super().__init__()
        self.student = student

    def forward(
        self,
        vision_features: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        video_present: Tensor,
        text_present: Tensor,
    ) -> tuple[Tensor, ...]:
        logits = self.student(
            vision_features=vision_features,
            input_ids=input_ids,
            attention_mask=attention_mask,
            video_present=video_present,
            text_present=text_present,
        )
        evidence = self.student.evidence(vision_features)
        pointed = [evidence[name] for name in self.student.moment_tasks]
        return (*(logits[name] for name in self.student.task_names), *pointed)


@dataclass(frozen=True)
class ExportedGraphs:
    """What was written.

    Attributes:
        files: role -> file name.
        feature_shape: (M, F) between the two; None of a single graph.
        evidence: names of the outputs that hold evidence.
    """

    files: dict[str, str]
    feature_shape: tuple[int, int] | None = None
    evidence: tuple[str, ...] = ()


def export_graphs(model: nn.Module, card: CheckpointCard, directory: Path) -> ExportedGraphs:
    """Writes the checked graphs of a student: one, or a vision tower and the rest where the student has a trunk.

    Args:
        model: in evaluation mode. The weights of a student with a trunk are rounded to fp16, in place: so they are
            stored.
        card: of its checkpoint.
        directory: the files go here.

    Raises:
        ForbiddenInputError: the model is a teacher, or its graph reaches an input beyond frames and text.
        ExportError: an exported graph lacks an input or an output.
    """
    if card.role != "student" or not isinstance(model, XVLM | MomentXVLM):
        raise ForbiddenInputError(
            f"this checkpoint is a {card.role}, not a student: what teachers read may hold privileged features, which "
            "are not there at upload time"
        )
    spec = card.config.input_spec
    inputs = example_inputs(spec, batch=2, length=min(12, spec.max_text_tokens))
    batch, length = Dim("batch", min=1, max=1024), Dim("text_length", min=3, max=spec.max_text_tokens)
    shapes: dict[str, Any] = {name: {0: batch} for name in INPUT_NAMES}
    shapes |= {name: {0: batch, 1: length} for name in ("input_ids", "attention_mask")}
    logits = [task.output_name for task in card.tasks]
    if isinstance(model, XVLM):
        graph = _exported(_OrderedLogits(model), inputs, shapes, logits)
        check_graph(graph, logits)
        onnx.save(graph, str(directory / MODEL_FILE))
        return ExportedGraphs({WHOLE: MODEL_FILE})
    round_weights(model)
    del inputs["frames"]
    per_moment, side = spec.frames // spec.moments, spec.frame_size
    pictures = torch.zeros((2, per_moment, side, side, 3), dtype=torch.uint8)
    shape = (spec.moments, model.vision_encoder.trunk.width)
    tower = _exported(_Vision(model), {MOMENTS: pictures}, {MOMENTS: {0: Dim("moments", min=1, max=16384)}}, [FEATURES])
    check_graph(tower, [FEATURES], inputs=(MOMENTS,))
    pointed = tuple(task.evidence_name for task in card.tasks if task.name in model.moment_tasks)
    inputs = {FEATURES: torch.zeros((2, *shape))} | inputs
    rest = _exported(_Rest(model), inputs, {name: shapes.get(name, {0: batch}) for name in inputs}, [*logits, *pointed])
    check_graph(rest, [*logits, *pointed], inputs=tuple(inputs), all_read=False)
    for graph, file in ((tower, VISION_FILE), (rest, REST_FILE)):
        store_half(graph)
        onnx.save(graph, str(directory / file))
    return ExportedGraphs({VISION: VISION_FILE, REST: REST_FILE}, shape, pointed)


def _exported(module: nn.Module, inputs: dict[str, Tensor], shapes: dict[str, Any], outputs: list[str]) -> Any:
    """The graph of a module, without notes."""
    program = torch.onnx.export(
        module.eval(),
        kwargs=inputs,
        dynamo=True,
        opset_version=OPSET,
        input_names=list(inputs),
        output_names=outputs,
        dynamic_shapes={name: shapes[name] for name in inputs},
        verbose=False,
    )
    if program is None:
        raise ExportError("the exporter returned nothing")
    graph = program.model_proto
    strip_notes(graph)
    return graph


@torch.no_grad()
def round_weights(model: nn.Module) -> None:
    """Rounds the large tensors to what fp16 holds, so that torch and the stored graph compute with the same weights."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and tensor.numel() >= _SMALLEST_HALVED:
            tensor.copy_(tensor.half().float())


def store_half(model: Any) -> None:
    """Stores large fp32 weights that fp16 holds exactly as fp16, behind a cast that the runtime folds when it loads."""
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < _SMALLEST_HALVED or not np.array_equal(values.astype(np.float16).astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}__half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}__half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


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


def check_graph(
    model: Any, output_names: list[str], inputs: Sequence[str] = INPUT_NAMES, *, all_read: bool = True
) -> None:
    """Checks that frames and text are all the graph can see, whatever its inputs are called elsewhere.

    Args:
        model: an ``onnx.ModelProto``.
        output_names: what must come out.
        inputs: what may go in.
        all_read: whether every input must be read.

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
    forbidden = sorted((declared | reached) - set(inputs))
    if forbidden:
        raise ForbiddenInputError(f"the graph reads more than frames and text: {', '.join(forbidden)}")
    unread = sorted(set(inputs) - reached)
    if unread and all_read:
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
