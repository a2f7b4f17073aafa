"""Which frames a model reads: the picture on screen in each of T equal spans of time, or bursts of a fixed step."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from contract.input_spec import InputSpec


def target_times(first_s: float, end_s: float, spec: InputSpec, phase: float = 0.0) -> list[float]:
    """T moments in [first_s, end_s], in the order in which the model reads them.

    Spans: the middle or the start of each of T equal ones, ascending. Bursts: burst after burst, each around the middle
    of one of K equal spans and ascending in itself; a burst that would reach out of the clip is moved into it, and one
    that is longer than the clip loses its outer steps. Bursts of a short clip may overlap.

    Args:
        first_s: when the first picture appears.
        end_s: when the last picture disappears; not before ``first_s``.
        spec: ``frames``, ``sampling`` and ``burst`` are read.
        phase: moves every moment by this share of a span, within [-0.5, 0.5]. Only training sets it, to vary clips.
    """
    spans = spec.moments
    span = (end_s - first_s) / spans
    offset = 0.0 if spec.sampling == "segment_first" else 0.5
    middles = [min(max(first_s + (i + offset + phase) * span, first_s), end_s) for i in range(spans)]
    if spec.burst is None:
        return middles
    step = spec.burst.step_ms / 1000
    reach = step * (spec.burst.pictures - 1) / 2
    times = []
    for middle in middles:
        centre = min(max(middle, first_s + reach), max(end_s - reach, first_s + reach))
        times += [min(max(centre - reach + i * step, first_s), end_s) for i in range(spec.burst.pictures)]
    return times


def on_screen(times_s: Sequence[float], targets_s: Sequence[float]) -> list[int]:
    """For each target, the index of the picture on screen: the last that starts at or before it.

    Args:
        times_s: when each picture appears, ascending, not empty.
        targets_s: moments; one before the first picture is answered with the first.
    """
    # A nanosecond of slack: a target computed as exactly a picture's start must not fall before it.
    return [max(0, bisect_right(times_s, target + 1e-9) - 1) for target in targets_s]
