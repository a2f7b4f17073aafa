"""What a decode worker said -> a DecodedVideo or a typed refusal. Nothing it says is believed unchecked."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import InputError
from contract.video import DecodeCost

_MAX_DETAIL = 400
_MOST = 1 << 40
"""No honest count of bytes or pixels is over this."""
_MOST_CPU_S = 86_400.0
"""No honest job takes longer."""


@dataclass(frozen=True)
class DecodedVideo:
    """A clip as the model reads it, and what the container held.

    Attributes:
        pixels: (T, S, S, 3) uint8 RGB.
        times_ms: (T,) when each frame appears, from the clip's first picture.
        container, codec: names.
        width, height: of the coded picture.
        duration_ms: of the video stream.
    """

    pixels: NDArray[np.uint8]
    times_ms: tuple[float, ...]
    container: str
    codec: str
    width: int
    height: int
    duration_ms: float


def refusal_in(answer: dict[str, Any]) -> InputError | None:
    """The contract's error that the answer names by its code; None where it names none that exists."""
    code, detail = answer.get("refused"), answer.get("detail")
    found = _input_errors().get(code) if isinstance(code, str) else None
    return found(detail[:_MAX_DETAIL]) if found is not None and isinstance(detail, str) else None


def video_in(answer: dict[str, Any], pixels: NDArray[np.uint8]) -> DecodedVideo | None:
    """The answer as a DecodedVideo; None where a value is not what a worker says.

    Args:
        answer: as ``service.decoding.worker`` describes it.
        pixels: (T, S, S, 3), what the slot holds.
    """
    times = answer.get("times_ms")
    if not isinstance(times, list) or len(times) != len(pixels) or not all(_finite(t) for t in times):
        return None
    names = [answer.get(key) for key in ("container", "codec")]
    numbers = [answer.get(key) for key in ("width", "height", "duration_ms")]
    if not all(isinstance(n, str) for n in names) or not all(_finite(n) for n in numbers):
        return None
    container, codec = (str(n)[:64] for n in names)
    width, height, duration_ms = (float(n) for n in numbers if n is not None)
    return DecodedVideo(pixels, tuple(map(float, times)), container, codec, int(width), int(height), duration_ms)


def cost_in(answer: dict[str, Any]) -> DecodeCost | None:
    """The answer as a DecodeCost; None where it has none, or a value is not what a worker says."""
    cost = answer.get("cost")
    if not isinstance(cost, dict) or set(cost) != {field.name for field in fields(DecodeCost)}:
        return None
    names = {key: cost.pop(key) for key in ("container", "codec")}
    if not all(isinstance(name, str) for name in names.values()):
        return None
    if not all(type(count) is int and 0 <= count <= _MOST for count in cost.values()):
        return None
    return DecodeCost(**{key: name[:64] for key, name in names.items()}, **cost)


def cpu_in(answer: dict[str, Any]) -> float:
    """The CPU seconds that the answer names; 0 where it names none that can be."""
    cpu_s = answer.get("cpu_s")
    return float(cpu_s) if isinstance(cpu_s, int | float) and 0 <= cpu_s <= _MOST_CPU_S else 0.0


def _input_errors() -> dict[str, type[InputError]]:
    """Code -> class, of every class in the contract's tree."""
    found, todo = {InputError.code: InputError}, [InputError]
    while todo:
        for child in todo.pop().__subclasses__():
            found.setdefault(child.code, child)
            todo.append(child)
    return found


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
