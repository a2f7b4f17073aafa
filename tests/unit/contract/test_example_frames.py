"""An example keeps what its clip gave: the moments of its frames, and only those of the window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contract.bundle import read_bundle
from contract.decision import OperatingPoint, TaskKind, probabilities
from contract.example import RawExample, read_example
from contract.input_spec import InputSpec
from contract.text import TextTokenizer
from contract.video import DecodeLimits, decode
from tests.synthetic_bundle import SPEC, write_clip, write_synthetic_bundle
from tests.unit.contract.clips import read_number, write_numbered


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return read_bundle(write_synthetic_bundle(tmp_path_factory.mktemp("example") / "bundle")).tokenizer


def test_frames_come_with_their_moments(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", fps=12)
    found = read_example(RawExample(clip), SPEC, tokenizer, DecodeLimits())
    frames = decode(clip, SPEC, DecodeLimits())
    np.testing.assert_array_equal(found.frames, frames.pixels)
    assert found.frame_times_ms == frames.times_ms
    assert len(found.frame_times_ms) == SPEC.frames


def test_moments_are_told_to_the_microsecond(tmp_path: Path) -> None:
    """Twelve pictures a second: the second appears at 83.333 ms."""
    spec = InputSpec(frames=12, frame_size=32)
    times = decode(write_clip(tmp_path / "clip.mp4", fps=12), spec, DecodeLimits()).times_ms
    assert times[:3] == (0.0, 83.333, 166.667)


def test_only_the_window_of_a_clip_counts(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "clip.mp4", 30)  # one picture each 40 ms
    found = read_example(RawExample(path, window_ms=(400.0, 800.0)), SPEC, tokenizer, DecodeLimits())
    assert all(10 <= read_number(picture) < 20 for picture in found.frames)
    assert all(400 <= time < 800 for time in found.frame_times_ms)


def test_an_operating_point_says_what_it_was_chosen_for() -> None:
    assert str(OperatingPoint()) == "max_f1"
    assert str(OperatingPoint(kind="recall_at_precision", value=0.9)) == "recall_at_precision 0.9"


def test_the_probabilities_of_several_rows_are_those_of_each() -> None:
    logits = np.array([[1.0, 2.0, 900.0], [0.0, -1.0, 0.5], [3.0, 3.0, 3.0], [-800.0, 0.0, 1.0]])
    for kind in TaskKind:
        together = probabilities(logits, kind, 0.7)
        alone = np.concatenate([probabilities(row[None], kind, 0.7) for row in logits])
        np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(probabilities(logits, TaskKind.MULTICLASS).sum(axis=1), 1)
