"""Data outside of a graph's own bytes are found wherever ONNX lets them stand."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from contract.onnx_bytes import outside_of

ROOT = Path(__file__).parents[3]


def outside(name: str) -> TensorProto:
    """A tensor whose data lie in another file."""
    tensor = numpy_helper.from_array(np.ones(3, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "beside.bin"
    return tensor


def model() -> ModelProto:
    weights = [numpy_helper.from_array(np.ones((2, 2), np.float32), "w")]
    return helper.make_model(helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [], [], weights))


def test_a_whole_graph_has_nothing_outside() -> None:
    assert outside_of(model().SerializeToString()) == []
    for graph in (ROOT / "bundles/cpfd-student").glob("*.onnx"):
        assert outside_of(graph.read_bytes()) == []


def in_initializer(found: ModelProto) -> None:
    found.graph.initializer.append(outside("hidden"))


def in_sparse_initializer(found: ModelProto) -> None:
    sparse = found.graph.sparse_initializer.add()
    sparse.values.CopyFrom(outside("hidden"))


def in_constant(found: ModelProto) -> None:
    found.graph.node.append(helper.make_node("Constant", [], ["c"], value=outside("hidden")))


def in_branch(found: ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [], [outside("hidden")])
    deeper = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=branch)], "deeper", [], [])
    found.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=deeper))


def in_function(found: ModelProto) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=outside("hidden"))
    found.functions.append(helper.make_function("d", "F", [], ["c"], [constant], [helper.make_opsetid("", 18)]))


def in_training_part(found: ModelProto) -> None:
    found.training_info.add().initialization.initializer.append(outside("hidden"))


def named_without_location(found: ModelProto) -> None:
    tensor = outside("hidden")
    tensor.ClearField("data_location")
    found.graph.initializer.append(tensor)


def located_without_name(found: ModelProto) -> None:
    tensor = outside("hidden")
    tensor.ClearField("external_data")
    found.graph.initializer.append(tensor)


PLACES = [
    in_initializer,
    in_sparse_initializer,
    in_constant,
    in_branch,
    in_function,
    in_training_part,
    named_without_location,
    located_without_name,
]


@pytest.mark.parametrize("place", PLACES)
def test_outside_data_are_found_wherever_they_stand(place: object) -> None:
    found = model()
    place(found)  # type: ignore[operator]
    assert outside_of(found.SerializeToString()) == ["hidden"]


def test_a_part_compiled_elsewhere_is_outside() -> None:
    found = model()
    found.graph.node.append(
        helper.make_node("EPContext", ["x"], ["z"], domain="com.microsoft", ep_cache_context="a.bin")
    )
    assert outside_of(found.SerializeToString()) == ["EPContext"]


@given(data=st.binary(max_size=200), at=st.integers(0, 10_000), cut=st.integers(0, 10_000))
def test_no_bytes_do_more_than_be_refused(data: bytes, at: int, cut: int) -> None:
    whole = model().SerializeToString()
    for spoilt in (data, whole[: at % len(whole)] + data + whole[cut % len(whole) :]):
        with contextlib.suppress(ValueError):
            outside_of(spoilt)


def test_a_graph_that_is_cut_off_is_refused() -> None:
    whole = model().SerializeToString()
    with pytest.raises(ValueError, match="not an ONNX graph"):
        outside_of(whole[:-1])


def test_a_tensor_without_a_name_is_called_something() -> None:
    found = model()
    found.graph.initializer.append(outside(""))
    assert outside_of(found.SerializeToString()) == ["unnamed"]
