"""Golden examples are drawn, not taken from anybody: the same for everybody, one of each mix of modalities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contract.input_spec import InputSpec, TextField
from contract.text import TextTokenizer
from model_export.golden import golden_inputs
from tests.unit.contract.test_text import write_tokenizer


def inputs(tmp_path: Path, *fields: str) -> dict[str, np.ndarray]:
    named = tuple(TextField(name=name, max_tokens=6) for name in fields)
    spec = InputSpec(frames=3, frame_size=32, text_fields=named)
    return golden_inputs(spec, TextTokenizer(write_tokenizer(tmp_path / "tokenizer.json"), spec))


def test_a_square_moves_over_a_gradient(tmp_path: Path) -> None:
    frames = inputs(tmp_path, "title", "overlay_text")["frames"]
    assert not frames[2].any()
    for clip, step in ((frames[0], 3), (frames[1], 7)):
        bright = clip[..., 0] == 250
        assert [int(np.flatnonzero(shown.any(axis=0))[0]) for shown in bright] == [0, step, 2 * step]
        assert bright.sum(axis=(1, 2)).tolist() == [64, 64, 64]
        assert clip[0, 8, 0].tolist() == [250, 200 - 10 * step, 40]
        left, right = clip[0, 0, 0], clip[0, 31, 0]
        assert (left.tolist(), right.tolist()) == ([0, 0, 0], [120, 120, 120])


@pytest.mark.parametrize("field", ["title", "caption"])
def test_the_example_without_a_clip_has_text_whatever_the_fields_are_called(tmp_path: Path, field: str) -> None:
    made = inputs(tmp_path, field)
    assert made["video_present"].tolist() == [True, True, False]
    assert made["text_present"].tolist()[1:] == [False, True]


def test_both_fields_are_read_where_the_spec_has_both(tmp_path: Path) -> None:
    both, one = inputs(tmp_path, "title", "overlay_text"), inputs(tmp_path, "title")
    assert both["attention_mask"].sum(axis=1).tolist()[0] > one["attention_mask"].sum(axis=1).tolist()[0] + 1
