"""Recorded examples, drawn by a generator: no user's clip or text travels in a bundle."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract.bundle import Golden
from contract.decision import TaskSpec
from contract.example import ModelInputs, assemble, collate
from contract.input_spec import InputSpec
from contract.text import TextTokenizer
from contract.video import Frames, VideoProbe

_TEXTS: tuple[dict[str, str | None], ...] = (
    {"title": "you will not believe what happens next", "overlay_text": "wait for it"},
    {},
    {"title": "ministers met on monday to discuss the budget"},
)


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


def record_golden(session: onnxruntime.InferenceSession, inputs: dict[str, Any], tasks: tuple[TaskSpec, ...]) -> Golden:
    """The inputs together with what the exported model answers."""
    values = session.run([task.output_name for task in tasks], inputs)
    return Golden(inputs, {task.name: np.asarray(v, np.float32) for task, v in zip(tasks, values, strict=True)})


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
