"""A student over moments becomes two graphs: the tower alone, and the rest, which reads what the tower gives."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor

from contract.bundle_manifest import REST, REST_FILE, VISION, VISION_FILE
from contract.example import INPUT_NAMES
from contract.input_spec import InputSpec, TextField
from contract.model_graphs import EVIDENCE_PREFIX, FEATURES, MOMENTS, ModelGraphs
from model_export import to_onnx
from model_export.errors import ForbiddenInputError
from model_export.sessions import open_written
from model_export.to_onnx import OPSET, ExportedGraphs, export_graphs, round_weights, store_half
from tests.moment_model import (
    LONG_BURSTS,
    MIDDLE,
    SPEC,
    TASKS,
    batch_of,
    moment_config,
    moment_model,
    with_lively_trunk,
)
from tests.unit.model_export.conftest import Untrained
from tests.unit.model_export.test_graph_check import graph
from training.config import RunConfig
from training.fitting.checkpoint import CheckpointCard
from training.models.moment_xvlm import MomentXVLM

LARGE = 4096
"""Elements from which on a tensor is stored in fp16."""
REST_INPUTS = (FEATURES, *(name for name in INPUT_NAMES if name != "frames"))


@dataclass(frozen=True)
class Written:
    """A student, and what its export wrote."""

    model: MomentXVLM
    before: dict[str, Tensor]
    card: CheckpointCard
    directory: Path
    graphs: ExportedGraphs

    def opened(self) -> ModelGraphs:
        return open_written(self.card, self.graphs, self.directory)

    def graph(self, role: str) -> Any:
        return onnx.load(str(self.directory / self.graphs.files[role]))


def moments_card(untrained: Untrained, spec: InputSpec = SPEC, vision: dict[str, Any] | None = None) -> CheckpointCard:
    longer = spec.model_copy(update={"text_fields": (TextField(name="title", max_tokens=12),)})
    config = RunConfig(input_spec=longer, model=moment_config(vision=vision))
    return untrained.card.model_copy(update={"config": config, "tasks": TASKS})


@pytest.fixture(scope="module")
def written(untrained: Untrained, tmp_path_factory: pytest.TempPathFactory) -> Written:
    directory, card, model = tmp_path_factory.mktemp("two"), moments_card(untrained), moment_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return Written(model, before, card, directory, export_graphs(model, card, directory))


def with_gaps(size: int, length: int) -> dict[str, Tensor]:
    """A batch of which one row lacks the clip and one the text, as they are served."""
    batch = batch_of(size, seed=size, length=length)
    if size > 2:
        batch["video_present"][1], batch["text_present"][2] = False, False
        batch["frames"][1] = 0
    return batch


def test_both_graphs_are_named_with_what_lies_between_them(written: Written) -> None:
    width = written.model.vision_encoder.trunk.width
    pointed = tuple(task.evidence_name for task in TASKS if task.name in written.model.moment_tasks)
    assert 0 < len(pointed) < len(TASKS)
    files = {VISION: VISION_FILE, REST: REST_FILE}
    assert written.graphs == ExportedGraphs(files, (SPEC.moments, width), pointed)
    assert {file.name for file in written.directory.iterdir()} == set(files.values())


def test_each_graph_reads_and_gives_its_own_side(written: Written) -> None:
    vision, rest = written.graph(VISION), written.graph(REST)
    assert [value.name for value in vision.graph.input] == [MOMENTS]
    assert [value.name for value in vision.graph.output] == [FEATURES]
    assert {value.name for value in rest.graph.input} <= set(REST_INPUTS)
    logits = [task.output_name for task in TASKS]
    assert [value.name for value in rest.graph.output] == [*logits, *written.graphs.evidence]
    for model in (vision, rest):
        assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]


@pytest.mark.parametrize(("size", "length"), [(1, 3), (1, 8), (5, 6)])
@pytest.mark.parametrize("moments_at_once", [0, 1])
def test_together_they_give_the_students_logits_and_evidence(
    written: Written, size: int, length: int, moments_at_once: int
) -> None:
    batch = with_gaps(size, length)
    opened = written.opened()
    graphs = ModelGraphs(
        opened.tasks, opened.sessions, opened.feature_shape, opened.evidence_names, moments_at_once=moments_at_once
    )
    found = graphs.run({name: tensor.numpy() for name, tensor in batch.items()})
    with torch.no_grad():
        logits = written.model(**batch)
        shown = batch["video_present"]
        evidence = written.model.evidence(written.model.vision_encoder.trunk(batch["frames"][shown]))
    for task in TASKS:
        np.testing.assert_allclose(found[task.name], logits[task.name].numpy(), atol=1e-4)
    for name in written.model.moment_tasks:
        mine = found[EVIDENCE_PREFIX + name][shown.numpy()]
        np.testing.assert_allclose(mine, evidence[name].numpy(), atol=1e-4)


def test_bursts_of_five_whose_deep_maps_are_of_the_middle_three(untrained: Untrained, tmp_path: Path) -> None:
    card = moments_card(untrained, LONG_BURSTS, MIDDLE)
    model = with_lively_trunk(moment_model(card.config.model, spec=LONG_BURSTS))
    opened = open_written(card, export_graphs(model, card, tmp_path), tmp_path)
    for size in (1, 3):
        batch = batch_of(size, spec=LONG_BURSTS)
        found = opened.run({name: tensor.numpy() for name, tensor in batch.items()})
        with torch.no_grad():
            logits = model(**batch)
        for task in TASKS:
            np.testing.assert_allclose(found[task.name], logits[task.name].numpy(), atol=1e-4)


def test_the_weights_that_were_compared_are_the_ones_that_are_stored(written: Written) -> None:
    """Parity is measured after the rounding: what is served then computes with what was measured."""
    large = 0
    for name, after in written.model.state_dict().items():
        before = written.before[name]
        if before.is_floating_point() and before.numel() >= LARGE:
            assert torch.equal(after, before.half().float()), name
            large += not torch.equal(after, before)
        else:
            assert torch.equal(after, before), name
    assert large


def test_large_weights_are_stored_in_half_the_bytes(written: Written) -> None:
    """Of the rest. The exporter folds the tower's normalisation into its weights, which fp16 then holds no more."""
    sizes: dict[int, list[int]] = {TensorProto.FLOAT: [], TensorProto.FLOAT16: []}
    for tensor in written.graph(REST).graph.initializer:
        if tensor.data_type in sizes:
            sizes[tensor.data_type].append(int(np.prod(tensor.dims)))
    assert min(sizes[TensorProto.FLOAT16]) >= LARGE
    assert max(sizes[TensorProto.FLOAT]) < LARGE


def model_with(**weights: np.ndarray) -> Any:
    """``sum = x + weight + ...``, each weight an initializer."""
    names = ["x", *weights]
    steps = [
        onnx.helper.make_node("Add", [names[0] if k == 0 else f"s{k}", name], [f"s{k + 1}"])
        for k, name in enumerate(names[1:])
    ]
    value = onnx.helper.make_tensor_value_info
    made = onnx.helper.make_graph(
        steps,
        "g",
        [value("x", TensorProto.FLOAT, [LARGE])],
        [value(f"s{len(steps)}", TensorProto.FLOAT, [LARGE])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", OPSET)])


def test_only_what_fp16_holds_exactly_is_stored_so_and_the_sum_stays() -> None:
    exact = np.arange(LARGE, dtype=np.float32) % 512 / 4
    fine = exact + np.float32(1e-3)
    weights = {"fine": fine, "exact": exact, "small": exact[:1]}
    model = model_with(**weights)
    store_half(model)
    onnx.checker.check_model(model, full_check=True)
    kept = {tensor.name: tensor for tensor in model.graph.initializer}
    assert {name: tensor.data_type for name, tensor in kept.items()} == {
        "fine": TensorProto.FLOAT,
        "exact__half": TensorProto.FLOAT16,
        "small": TensorProto.FLOAT,
    }
    np.testing.assert_array_equal(numpy_helper.to_array(kept["exact__half"]), exact.astype(np.float16))
    evaluated = onnx.reference.ReferenceEvaluator(model).run(None, {"x": np.zeros(LARGE, np.float32)})[0]
    np.testing.assert_array_equal(evaluated, fine + exact + exact[:1])


def test_a_tensor_that_is_small_or_counts_is_not_rounded() -> None:
    module = torch.nn.Module()
    values = {
        "large": torch.full((LARGE,), 0.1),
        "small": torch.full((LARGE - 1,), 0.1),
        "counts": torch.full((LARGE,), 2049),
    }
    for name, tensor in values.items():
        module.register_buffer(name, tensor.clone())
    round_weights(module)
    assert torch.equal(module.large, values["large"].half().float())
    assert not torch.equal(module.large, values["large"])
    assert torch.equal(module.small, values["small"])
    assert torch.equal(module.counts, values["counts"])


@pytest.mark.parametrize("guilty", [0, 1], ids=["tower", "rest"])
def test_neither_graph_is_written_where_one_reads_a_privileged_input(
    untrained: Untrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guilty: int
) -> None:
    tower = (MOMENTS,), (MOMENTS,), (FEATURES,)
    outputs = tuple(task.output_name for task in TASKS) + tuple(task.evidence_name for task in TASKS[::2])
    sides = [tower, (REST_INPUTS, REST_INPUTS, outputs)]
    inputs, read, given = sides[guilty]
    sides[guilty] = ((*inputs, "privileged_flow"), (*read, "privileged_flow"), given)
    coming = itertools.cycle(graph(*side) for side in sides)
    monkeypatch.setattr(to_onnx.torch.onnx, "export", lambda *_, **__: SimpleNamespace(model_proto=next(coming)))
    with pytest.raises(ForbiddenInputError, match="privileged_flow"):
        export_graphs(moment_model(), moments_card(untrained), tmp_path)
    assert not list(tmp_path.iterdir())
