"""Line charts as inline SVG: no library, no script, nothing fetched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 16, 44


@dataclass(frozen=True)
class Line:
    """A series.

    Attributes:
        name: in the legend.
        points: x and y; a y that is nan leaves a gap.
        colour: of CSS.
        dashed: a bound or a target, not a measurement: no dots.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Band:
    """A stretch of the x axis that is tinted, and why."""

    begin: float
    end: float
    name: str


@dataclass(frozen=True)
class Axis:
    """A mapping from values to pixels, with its ticks."""

    low: float
    high: float
    begin_px: float
    end_px: float
    logarithmic: bool = False

    def pixel(self, value: float) -> float:
        """Where ``value`` is drawn; at the end if it lies beyond."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, at = math.log10(low), math.log10(high), math.log10(at)
        return self.begin_px + (at - low) / (high - low) * (self.end_px - self.begin_px)

    def ticks(self) -> list[float]:
        """Round values within, about seven of them."""
        if self.logarithmic:
            found = [
                mantissa * 10.0**exponent
                for exponent in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
                for mantissa in ((1, 2, 5) if self.high / self.low < 3000 else (1,))
            ]
        else:
            step = _round_step((self.high - self.low) / 7)
            found = [step * i for i in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]
        return [tick for tick in found if self.low * 0.999 <= tick <= self.high * 1.001]


def chart(
    title: str,
    x_label: str,
    y_label: str,
    lines: Sequence[Line],
    *,
    logarithmic: bool = False,
    bands: Sequence[Band] = (),
    x_high: float | None = None,
) -> str:
    """An SVG figure of ``lines``; a sentence in its place if there is nothing to draw.

    Args:
        title: above it, and what a screen reader says.
        x_label, y_label: with their units.
        lines: what is drawn.
        logarithmic: of the y axis.
        bands: tinted stretches.
        x_high: the right end; None: the largest x.
    """
    drawn = [(x, y) for line in lines for x, y in line.points if math.isfinite(y) and (y > 0 or not logarithmic)]
    if not drawn:
        return f"<figure><figcaption>{escape(title)}</figcaption><p class=empty>Nothing was measured.</p></figure>"
    x_axis = Axis(0, x_high or max(x for x, _ in drawn) or 1, LEFT, WIDTH - RIGHT)
    y_axis = _y_axis([y for _, y in drawn], logarithmic)
    parts = [_bands(bands, x_axis), _grid(x_axis, y_axis), *(_polyline(line, x_axis, y_axis) for line in lines)]
    parts.append(f'<text class=label x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}">{escape(x_label)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class=label transform="translate(14 {middle}) rotate(-90)">{escape(y_label)}</text>')
    legend = "".join(
        f'<span><i style="border-color:{line.colour};border-style:{"dashed" if line.dashed else "solid"}"></i>'
        f"{escape(line.name)}</span>"
        for line in lines
    )
    legend += "".join(f"<span><b></b>{escape(name)}</span>" for name in dict.fromkeys(band.name for band in bands))
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
        f"<div class=legend>{legend}</div></figure>"
    )


def _y_axis(values: Sequence[float], logarithmic: bool) -> Axis:
    if logarithmic:
        low, high = min(values) / 1.3, max(values) * 1.3
        return Axis(low, max(high, low * 10), HEIGHT - BOTTOM, TOP, True)
    return Axis(0, (max(values) or 1) * 1.08, HEIGHT - BOTTOM, TOP)


def _round_step(rough: float) -> float:
    """The least of 1, 2, 5 times a power of ten that is not below ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)


def _bands(bands: Sequence[Band], x_axis: Axis) -> str:
    made = []
    for band in bands:
        left, right = x_axis.pixel(band.begin), x_axis.pixel(band.end)
        made.append(
            f'<rect class=band x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{HEIGHT - BOTTOM - TOP}"/>'
        )
    return "".join(made)


def _grid(x_axis: Axis, y_axis: Axis) -> str:
    made = []
    for tick in y_axis.ticks():
        y = y_axis.pixel(tick)
        made.append(f'<line class=grid x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        made.append(f'<text class=y x="{LEFT - 6}" y="{y + 4:.1f}">{tick:g}</text>')
    base = HEIGHT - BOTTOM
    for tick in x_axis.ticks():
        x = x_axis.pixel(tick)
        made.append(f'<line class=tick x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>')
        made.append(f'<text class=x x="{x:.1f}" y="{base + 17}">{tick:g}</text>')
    return "".join(made) + f'<line class=axis x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>'


def _polyline(line: Line, x_axis: Axis, y_axis: Axis) -> str:
    """The line in pieces without gaps, with a dot for each measurement."""
    pieces: list[list[str]] = [[]]
    dots = []
    for x, y in line.points:
        if not math.isfinite(y) or (y_axis.logarithmic and y <= 0):
            pieces.append([])
            continue
        at = f"{x_axis.pixel(x):.1f},{y_axis.pixel(y):.1f}"
        pieces[-1].append(at)
        if not line.dashed and len(line.points) <= 12:
            dots.append('<circle cx="{}" cy="{}" r="3" fill="{}"/>'.format(*at.split(","), line.colour))
    dash = ' stroke-dasharray="5 4"' if line.dashed else ""
    return "".join(
        f'<polyline points="{" ".join(piece)}" stroke="{line.colour}"{dash}/>' for piece in pieces if len(piece) > 1
    ) + "".join(dots)
