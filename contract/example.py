"""Raw example -> model inputs -> a padded batch of named arrays.

The batch's keys are the ONNX graph's input names, so training, export and serving feed the same thing.

    frames          (B, T, S, S, 3) uint8   RGB; zeros where ``video_present`` is False
    input_ids       (B, L)          int64   padded on the right with [PAD]
    attention_mask  (B, L)          int64   1 on tokens, 0 on padding
    video_present   (B,)            bool
    text_present    (B,)            bool
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import NoInput
from contract.input_spec import InputSpec
from contract.text import TextTokenizer, TokenisedText
from contract.video import DecodeLimits, Frames, decode

INPUT_NAMES = ("frames", "input_ids", "attention_mask", "video_present", "text_present")
FRAME_INPUTS = frozenset({"frames", "video_present"})
TEXT_INPUTS = frozenset({"input_ids", "attention_mask", "text_present"})


@dataclass(frozen=True)
class RawExample:
    """A clip on disk and its texts, either of which may be missing (not both)."""

    video: Path | None = None
    texts: Mapping[str, str | None] = field(default_factory=dict)
    window_ms: tuple[float, float] | None = None
    """Only this span of the clip counts, in ms from its first frame. Serving never sets it."""


@dataclass(frozen=True)
class ModelInputs:
    """One example as a model reads it.

    Attributes:
        frames: (T, S, S, 3) uint8; zeros where there is no video.
        frame_times_ms: when each frame is on screen, from the first frame; empty where there is no video.
        text: the tokenised text.
        video_present: whether a clip was read.
    """

    frames: NDArray[np.uint8]
    frame_times_ms: tuple[float, ...]
    text: TokenisedText
    video_present: bool


def assemble(frames: Frames | None, text: TokenisedText, spec: InputSpec) -> ModelInputs:
    """The model inputs of an example whose video (if any) is decoded and whose text is tokenised.

    Raises:
        NoInput: neither a video nor any text.
        ValueError: frames of another shape than the spec's, which would break the whole batch.
    """
    if frames is not None and frames.pixels.shape != spec.frames_shape:
        raise ValueError(f"frames are {frames.pixels.shape}, the input spec says {spec.frames_shape}")
    if frames is None and not text.present:
        raise NoInput("send a video, a text, or both: this request has neither")
    pixels = np.zeros(spec.frames_shape, np.uint8) if frames is None else frames.pixels
    times = () if frames is None else frames.times_ms
    return ModelInputs(pixels, times, text, video_present=frames is not None)


def read_example(raw: RawExample, spec: InputSpec, tokenizer: TextTokenizer, limits: DecodeLimits) -> ModelInputs:
    """Decodes and tokenises a raw example in this process (training, golden examples, benchmarks).

    Raises:
        InputError: see ``contract.errors``.
    """
    frames = None
    if raw.video is not None:
        frames = decode(raw.video, spec, limits, window_ms=raw.window_ms)
    return assemble(frames, tokenizer.encode(raw.texts), spec)


def collate(examples: Sequence[ModelInputs], pad_id: int, pad_to: int | None = None) -> dict[str, NDArray[Any]]:
    """A batch as named arrays (see the module's legend), padded to the longest text or to ``pad_to`` tokens.

    Raises:
        ValueError: no examples, or a text longer than ``pad_to``.
    """
    if not examples:
        raise ValueError("cannot collate an empty list of examples")
    longest = max(len(e.text.input_ids) for e in examples)
    length = longest if pad_to is None else pad_to
    if longest > length:
        raise ValueError(f"a text of {longest} tokens does not fit {length}")
    input_ids = np.full((len(examples), length), pad_id, np.int64)
    attention_mask = np.zeros((len(examples), length), np.int64)
    for row, example in enumerate(examples):
        n = len(example.text.input_ids)
        input_ids[row, :n] = example.text.input_ids
        attention_mask[row, :n] = example.text.attention_mask
    return {
        "frames": np.stack([e.frames for e in examples]),
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "video_present": np.asarray([e.video_present for e in examples], np.bool_),
        "text_present": np.asarray([e.text.present for e in examples], np.bool_),
    }
