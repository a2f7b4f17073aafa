"""Raw example -> model inputs -> batch: what is in it does not depend on what stands beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contract.bundle import read_bundle
from contract.errors import NoInput
from contract.example import FRAME_INPUTS, INPUT_NAMES, TEXT_INPUTS, ModelInputs, RawExample, collate, read_example
from contract.example import assemble as assembled
from contract.text import TextTokenizer
from contract.video import DecodeLimits, decode
from tests.synthetic_bundle import SPEC, write_clip, write_synthetic_bundle


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return read_bundle(write_synthetic_bundle(tmp_path_factory.mktemp("bundle"))).tokenizer


@pytest.fixture(scope="module")
def examples(tokenizer: TextTokenizer, tmp_path_factory: pytest.TempPathFactory) -> list[ModelInputs]:
    folder = tmp_path_factory.mktemp("clips")
    raws = [
        RawExample(write_clip(folder / "a.mp4", seed=1), {"title": "a fight in the park"}),
        RawExample(write_clip(folder / "b.mp4", seed=2)),
        RawExample(None, {"title": "news", "overlay_text": "the cat"}),
    ]
    return [read_example(raw, SPEC, tokenizer, DecodeLimits()) for raw in raws]


def test_a_batch_holds_what_each_example_alone_holds(examples: list[ModelInputs], tokenizer: TextTokenizer) -> None:
    batch = collate(examples, tokenizer.pad_id)
    assert tuple(batch) == INPUT_NAMES
    for row, example in enumerate(examples):
        alone = collate([example], tokenizer.pad_id)
        length = alone["input_ids"].shape[1]
        for name in INPUT_NAMES:
            together = batch[name][row]
            if name in ("input_ids", "attention_mask"):
                filler = tokenizer.pad_id if name == "input_ids" else 0
                assert (together[length:] == filler).all()
                together = together[:length]
            np.testing.assert_array_equal(together, alone[name][0])


def test_types_and_shapes_are_the_graphs(examples: list[ModelInputs], tokenizer: TextTokenizer) -> None:
    batch = collate(examples, tokenizer.pad_id, pad_to=20)
    assert {name: (array.dtype.name, array.shape) for name, array in batch.items()} == {
        "frames": ("uint8", (3, *SPEC.frames_shape)),
        "input_ids": ("int64", (3, 20)),
        "attention_mask": ("int64", (3, 20)),
        "video_present": ("bool", (3,)),
        "text_present": ("bool", (3,)),
    }
    assert batch["video_present"].tolist() == [True, True, False]
    assert batch["text_present"].tolist() == [True, False, True]
    assert set(INPUT_NAMES) == FRAME_INPUTS | TEXT_INPUTS


def test_a_text_may_be_just_as_long_as_the_padding(examples: list[ModelInputs], tokenizer: TextTokenizer) -> None:
    longest = max(len(example.text.input_ids) for example in examples)
    assert collate(examples, tokenizer.pad_id, pad_to=longest)["input_ids"].shape == (3, longest)


def test_padding_is_what_the_tokenizer_calls_padding(examples: list[ModelInputs]) -> None:
    (row,) = collate(examples[1:2], pad_id=17, pad_to=20)["input_ids"]
    length = len(examples[1].text.input_ids)
    assert row.tolist() == [*examples[1].text.input_ids.tolist(), *[17] * (20 - length)]


def test_a_missing_video_is_zeros_without_times(examples: list[ModelInputs]) -> None:
    assert not examples[2].frames.any()
    assert examples[2].frame_times_ms == ()
    assert len(examples[0].frame_times_ms) == SPEC.frames
    assert examples[0].frames.any()


def test_padding_shorter_than_a_text_and_an_empty_batch_are_refused(
    examples: list[ModelInputs], tokenizer: TextTokenizer
) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        collate(examples, tokenizer.pad_id, pad_to=3)
    with pytest.raises(ValueError, match="empty"):
        collate([], tokenizer.pad_id)


@pytest.mark.parametrize("texts", [{}, {"title": None}, {"title": "  ", "overlay_text": ""}])
def test_neither_video_nor_text_is_refused(tokenizer: TextTokenizer, texts: dict[str, str | None]) -> None:
    with pytest.raises(NoInput) as refused:
        read_example(RawExample(None, texts), SPEC, tokenizer, DecodeLimits())
    assert refused.value.code == "no_input"


def test_frames_of_another_spec_never_reach_a_batch(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    other = SPEC.model_copy(update={"frames": 2})
    frames = decode(write_clip(tmp_path / "a.mp4"), other, DecodeLimits())
    with pytest.raises(ValueError, match="input spec"):
        assembled(frames, tokenizer.encode({}), SPEC)
