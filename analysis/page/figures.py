"""The page's figures: Matplotlib draws them as inline SVG, the same bytes for the same numbers.

They look as those of the training report do: text stays text, colours are Okabe and Ito's, marks say the same again.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INK, MUTED, GRID = "#374151", "#6b7280", "#e5e7eb"
CONTROL_COLOUR, TREATMENT_COLOUR = "#0072b2", "#d55e00"
BETTER_COLOUR, WORSE_COLOUR, OPEN_COLOUR = "#009e73", "#b91c1c", "#7b8492"
_RC: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}
_WIDTH, _POINTS = 5.4, 72


@dataclass(frozen=True)
class Span:
    """A value with its always-valid and its one-look interval; ends may be missing.

    Attributes:
        title: beside it.
        value: in the middle.
        wide: always valid.
        narrow: of one look.
        verdict: ``better``, ``worse``, or anything else.
    """

    title: str
    value: float
    wide: Sequence[float | None]
    narrow: Sequence[float | None]
    verdict: str


@dataclass(frozen=True)
class Day:
    """A day's difference and that of all days so far."""

    day: str
    value: float | None
    interval: Sequence[float | None]
    so_far: float | None
    band: Sequence[float | None]


def spans_figure(name: str, spans: Sequence[Span], x_label: str, label: str, *, limit: float, centre: float = 0) -> str:
    """A row a span, the first on top; the dashed line is the limit, the solid one is "no difference"."""
    with rc_context(_RC):
        figure = Figure(figsize=(_WIDTH, 0.8 + 0.36 * max(2, len(spans))), layout="constrained")
        axes = figure.subplots()
        for place, span in enumerate(reversed(spans)):
            _span(axes, place, span)
        axes.axvline(centre, color=INK, linewidth=1, zorder=2.5)
        axes.axvline(limit, color=WORSE_COLOUR, linewidth=1.2, linestyle=(0, (4, 3)), zorder=2)
        axes.set_yticks(range(len(spans)), [span.title for span in reversed(spans)])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(axis="y", visible=False)
        axes.set_ylim(-0.6, max(2, len(spans)) - 0.4)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.set_xlabel(x_label)
        return _inline(figure, name, label)


def _span(axes: Axes, place: int, span: Span) -> None:
    colour = {"better": BETTER_COLOUR, "worse": WORSE_COLOUR}.get(span.verdict, OPEN_COLOUR)
    marker = {"better": "^", "worse": "v"}.get(span.verdict, "o")
    if None not in span.wide:
        axes.plot(_ends(span.wide), [place, place], color=colour, linewidth=1.6, zorder=3, solid_capstyle="butt")
    if None not in span.narrow:
        axes.plot(
            _ends(span.narrow), [place, place], color=colour, linewidth=5, alpha=0.45, zorder=3, solid_capstyle="butt"
        )
    axes.plot(span.value, place, marker=marker, color=colour, markersize=7, zorder=4)


def _ends(interval: Sequence[float | None]) -> list[float]:
    return [float(end) for end in interval if end is not None]


def days_figure(name: str, days: Sequence[Day], y_label: str, label: str, *, limit: float) -> str:
    """Each day's difference with its one-look interval, and the difference so far with its confidence sequence."""
    with rc_context(_RC):
        figure = Figure(figsize=(_WIDTH, 3.2), layout="constrained")
        axes = figure.subplots()
        x = np.arange(len(days))
        for k, day in enumerate(days):
            if day.value is not None and None not in day.interval:
                axes.plot([k, k], _ends(day.interval), color=MUTED, linewidth=1.4, alpha=0.6, zorder=2)
                axes.plot(k, day.value, marker="o", color=MUTED, markersize=4.5, zorder=3)
        known = [k for k, day in enumerate(days) if day.so_far is not None and None not in day.band]
        if known:
            low, high = (np.asarray([days[k].band[end] for k in known], float) for end in (0, 1))
            axes.fill_between(x[known], low, high, color=TREATMENT_COLOUR, alpha=0.16, linewidth=0, zorder=1)
            so_far = [float(days[k].so_far or 0.0) for k in known]
            axes.plot(
                x[known], so_far, color=TREATMENT_COLOUR, linewidth=2, zorder=4, marker="." if len(known) == 1 else ""
            )
        axes.axhline(0, color=INK, linewidth=1, zorder=1.5)
        axes.axhline(limit, color=WORSE_COLOUR, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1.5)
        step = max(1, -(-len(days) // 7))
        axes.set_xticks(x[::step], [day.day[5:] for day in days[::step]])
        axes.set_ylabel(y_label)
        axes.margins(x=0.04)
        return _inline(figure, name, label)


def shares_figure(name: str, days: Sequence[tuple[str, float, float, float]], planned: float, label: str) -> str:
    """The treatment's share of new units by day: (day, share, low, high of what chance allows)."""
    with rc_context(_RC):
        figure = Figure(figsize=(_WIDTH, 2.9), layout="constrained")
        axes = figure.subplots()
        x = np.arange(len(days))
        axes.fill_between(
            x, [d[2] for d in days], [d[3] for d in days], color=CONTROL_COLOUR, alpha=0.14, linewidth=0, step="mid"
        )
        axes.axhline(planned, color=INK, linewidth=1)
        axes.plot(x, [d[1] for d in days], color=TREATMENT_COLOUR, marker="o", markersize=5, linewidth=1.4)
        step = max(1, -(-len(days) // 7))
        axes.set_xticks(x[::step], [d[0][5:] for d in days[::step]])
        axes.set_ylabel("treatment's share of new units")
        axes.margins(x=0.04)
        return _inline(figure, name, label)


def _inline(figure: Figure, name: str, label: str) -> str:
    """The figure as an ``svg`` element of an HTML page, its ids begun with ``name``; ``label`` is read aloud."""
    stream = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(stream, metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([\w.-]+)", text))
    text = re.sub(r' id="([\w.-]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", text).replace("xlink:href", "href")
    width, height = (figure.get_size_inches() * _POINTS).round(1)
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">'
    return re.sub(r"^<svg[^>]*>", lambda _: head, text).strip()
