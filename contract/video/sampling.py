"""Which frames a model reads: the picture on screen in each of T equal spans of time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal


def target_times(
    first_s: float, end_s: float, frames: int, sampling: Literal["segment_middle", "segment_first"]
) -> list[float]:
    """T moments in [first_s, end_s), ascending: the middle or the start of each of T equal spans.

    Args:
        first_s: when the first picture appears.
        end_s: when the last picture disappears; not before ``first_s``.
        frames: T.
        sampling: as in ``InputSpec``.
    """
    offset = 0.5 if sampling == "segment_middle" else 0.0
    span = (end_s - first_s) / frames
    return [first_s + (i + offset) * span for i in range(frames)]


def on_screen(times_s: Sequence[float], targets_s: Sequence[float]) -> list[int]:
    """For each target, the index of the picture on screen: the last that starts at or before it.

    Args:
        times_s: when each picture appears, ascending, not empty.
        targets_s: moments; one before the first picture is answered with the first.
    """
    # A nanosecond of slack: a target computed as exactly a picture's start must not fall before it.
    return [max(0, bisect_right(times_s, target + 1e-9) - 1) for target in targets_s]
