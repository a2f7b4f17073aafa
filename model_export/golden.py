"""Recorded examples and the golden clip, drawn by a generator: no user's clip or text travels in a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.bundle import Golden
from contract.decision import DecisionPolicy, Modality, TaskSpec, decide
from contract.example import ModelInputs, assemble, collate
from contract.input_spec import InputSpec
from contract.model_graphs import ModelGraphs
from contract.proof import libraries
from contract.replay import GoldenReplay, decode_bytes, frames_digest
from contract.text import TextTokenizer
from contract.video import DecodeLimits, Frames, VideoProbe
from model_export.golden_clip import draw_clip

_TEXTS: tuple[dict[str, str | None], ...] = (
    {"title": "you will not believe what happens next", "overlay_text": "wait for it"},
    {},
    {"title": "ministers met on monday to discuss the budget"},
)
_REPLAYED_TEXTS = {
    "title": "You WON'T believe this: a fight in the park \u2014 caf\u00e9, cafe\u0301 & \u6771\u4eac #7 \U0001f3ac",
    "overlay_text": "wait for it\u2026 100% [SEP] re-uploaded",
}
"""Cases, accents in both spellings, punctuation, a script without spaces, an emoji, a special token typed as text."""


@dataclass(frozen=True)
class Recorded:
    """A golden clip, and what came of it.

    Attributes:
        clip: its bytes.
        pixels: (T, S, S, 3) uint8.
        replay: what the manifest holds of it.
    """

    clip: bytes
    pixels: NDArray[np.uint8]
    replay: GoldenReplay


def record_replay(
    graphs: ModelGraphs,
    spec: InputSpec,
    tokenizer: TextTokenizer,
    tasks: tuple[TaskSpec, ...],
    policy: DecisionPolicy,
) -> Recorded:
    """The clip and its texts on their way from bytes to scores, through the exported model."""
    clip = draw_clip(spec)
    fields = [field.name for field in spec.text_fields]
    texts = {name: text for name, text in _REPLAYED_TEXTS.items() if name in fields}
    texts = texts or {fields[0]: _REPLAYED_TEXTS["title"]}
    frames, text = decode_bytes(clip, spec, DecodeLimits()), tokenizer.encode(dict(texts))
    inputs = collate([assemble(frames, text, spec)], tokenizer.pad_id)
    logits = {name: value[0] for name, value in graphs.run(inputs).items()}
    decisions = decide(logits, tasks, policy, frozenset(Modality))
    replay = GoldenReplay(
        texts=texts,
        input_ids=tuple(text.input_ids.tolist()),
        frame_times_ms=frames.times_ms,
        frames_digest=frames_digest(frames.pixels),
        scores={name: decision.scores for name, decision in decisions.items()},
        recorded_with=libraries() | {"onnxruntime": metadata.version("onnxruntime")},
    )
    return Recorded(clip, frames.pixels, replay)


def golden_inputs(spec: InputSpec, tokenizer: TextTokenizer) -> dict[str, NDArray[Any]]:
    """A batch of three: clip and text, clip alone, text alone."""
    clips: list[Frames | None] = [_clip(spec, 3), _clip(spec, 7), None]
    fields = {field.name for field in spec.text_fields}
    examples: list[ModelInputs] = []
    for clip, texts in zip(clips, _TEXTS, strict=True):
        known = {name: text for name, text in texts.items() if name in fields}
        if clip is None and not known:
            known = {spec.text_fields[0].name: _TEXTS[0]["title"]}
        examples.append(assemble(clip, tokenizer.encode(known), spec))
    return collate(examples, tokenizer.pad_id)


def record_golden(graphs: ModelGraphs, inputs: dict[str, Any], tasks: tuple[TaskSpec, ...]) -> Golden:
    """The inputs together with what the exported model answers."""
    values = graphs.run(inputs)
    return Golden(inputs, {task.name: np.asarray(values[task.name], np.float32) for task in tasks})


def _clip(spec: InputSpec, step: int) -> Frames:
    """A bright square that moves ``step`` pixels a frame over a gradient: smooth, so that it compresses."""
    side = spec.frame_size
    gradient = np.linspace(0, 120, side).astype(np.uint8)
    pixels = np.broadcast_to(gradient[None, :, None, None], spec.frames_shape).copy()
    edge = side // 4
    for t in range(spec.frames):
        left = (step * t) % (side - edge)
        pixels[t, edge : 2 * edge, left : left + edge] = (250, 200 - 10 * step, 40)
    probe = VideoProbe("generated", "none", side, side, (), float(spec.frames), spec.frames, False)
    return Frames(pixels, tuple(float(t * 1000) for t in range(spec.frames)), probe)
