"""Parity is measured at every batch size and length; one logit too far, or none at all, stops the export."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.decision import TaskKind, TaskSpec
from contract.input_spec import InputSpec, TextField
from contract.model_graphs import ModelGraphs
from model_export.errors import ParityError
from model_export.parity import BATCH_SIZES, MAX_ABS_DIFFERENCE, measure_parity, random_inputs

TASKS = (
    TaskSpec(name="first", kind=TaskKind.BINARY, labels=("no", "yes")),
    TaskSpec(name="second", kind=TaskKind.MULTILABEL, labels=("a", "b")),
)
SPEC = InputSpec(frames=2, frame_size=16, text_fields=(TextField(name="title", max_tokens=8),))
LENGTHS = (3, 5, 10)
Off = Callable[[str, int, int], float]
"""(task, batch, length) -> how far ONNX is from torch there."""


class _Zeros(nn.Module):
    def forward(self, frames: Tensor, **_: Tensor) -> dict[str, Tensor]:
        return {task.name: torch.zeros(len(frames), task.logits_width) for task in TASKS}


class _Graphs:
    """Answer zeros, but for the last logit of the last row, which is off by what the test says."""

    def __init__(self, off: Off) -> None:
        self._off = off
        self.seen: list[tuple[int, int]] = []

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        batch, length = inputs["input_ids"].shape
        self.seen.append((batch, length))
        found = {task.name: np.zeros((batch, task.logits_width), np.float32) for task in TASKS}
        for name, values in found.items():
            values[-1, -1] = self._off(name, batch, length)
        return found


def measured(off: Off, spec: InputSpec = SPEC) -> tuple[float, list[tuple[int, int]]]:
    graphs = _Graphs(off)
    return measure_parity(_Zeros(), cast(ModelGraphs, graphs), TASKS, spec, vocab_size=30), graphs.seen


def test_every_batch_size_is_tried_at_the_shortest_a_middle_and_the_longest_text() -> None:
    found, seen = measured(lambda *_: 0.0)
    assert found == 0.0
    assert len(BATCH_SIZES) > 2
    assert sorted(seen) == sorted(product(BATCH_SIZES, LENGTHS))


def test_a_middle_too_short_for_a_text_is_left_out() -> None:
    tiny = InputSpec(frames=1, frame_size=16, text_fields=(TextField(name="title", max_tokens=2),))
    assert {length for _, length in measured(lambda *_: 0.0, tiny)[1]} == {3, 4}


def test_what_is_returned_is_the_largest_difference_wherever_it_was() -> None:
    found, _ = measured(lambda task, batch, length: -5e-4 if (task, batch, length) == ("first", 2, 5) else 1e-4)
    assert found == pytest.approx(5e-4)


@pytest.mark.parametrize("wrong", [1.001 * MAX_ABS_DIFFERENCE, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("place", [("first", 1, 3), ("second", 5, 10), ("first", 3, 5)])
def test_one_logit_that_is_off_anywhere_stops_the_export(wrong: float, place: tuple[str, int, int]) -> None:
    task, batch, length = place
    with pytest.raises(ParityError, match=f"task {task}, batch {batch}, {length} tokens"):
        measured(lambda *here: wrong if here == place else 0.0)


def _many() -> list[dict[str, NDArray[Any]]]:
    return [random_inputs(SPEC, batch=5, length=10, vocab_size=30, seed=seed) for seed in range(20)]


def test_inputs_are_of_the_graphs_shapes_and_types() -> None:
    for made in _many():
        assert {name: (array.shape, array.dtype.name) for name, array in made.items()} == {
            "frames": ((5, *SPEC.frames_shape), "uint8"),
            "input_ids": ((5, 10), "int64"),
            "attention_mask": ((5, 10), "int64"),
            "video_present": ((5,), "bool"),
            "text_present": ((5,), "bool"),
        }
        assert 0 <= made["input_ids"].min() <= made["input_ids"].max() < 30


def test_every_mix_of_modalities_is_among_them_but_none_of_both() -> None:
    pairs = {pair for made in _many() for pair in zip(made["video_present"], made["text_present"], strict=True)}
    assert pairs == {(True, True), (True, False), (False, True)}


def test_frames_are_zeros_just_where_there_is_no_video() -> None:
    for made in _many():
        shown = made["frames"].reshape(5, -1).any(axis=1)
        assert shown.tolist() == made["video_present"].tolist()


def test_texts_are_of_many_lengths_and_one_is_full() -> None:
    lengths = [made["attention_mask"].sum(axis=1) for made in _many()]
    assert all(row[0] == 10 for row in lengths)
    others = {int(n) for row in lengths for n in row[1:]}
    assert others == set(range(3, 11))
    for made in _many():
        assert (np.diff(made["attention_mask"], axis=1) <= 0).all(), "padding is on the right"


def test_inputs_follow_their_seed() -> None:
    first, again, other = (random_inputs(SPEC, 5, 10, 30, seed) for seed in (1, 1, 2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert not np.array_equal(first["input_ids"], other["input_ids"])


def test_the_darkest_and_the_brightest_pixel_are_among_them() -> None:
    shown = [made["frames"][made["video_present"]] for made in _many() if made["video_present"].any()]
    assert (min(frames.min() for frames in shown), max(frames.max() for frames in shown)) == (0, 255)
    ids = [made["input_ids"] for made in _many()]
    assert (min(i.min() for i in ids), max(i.max() for i in ids)) == (0, 29)
