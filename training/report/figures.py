"""The report's figures: Matplotlib draws them as inline SVG, the same bytes for the same numbers.

Text stays text, in the page's own font. Colours are Okabe and Ito's, told apart by the colour-blind; a dash pattern
and a marker say the same again.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.report.figure_data import RECALLS, Array, LossCurve, PrecisionRecall, Reliability

INK, MUTED, GRID = "#374151", "#6b7280", "#e5e7eb"
_RC: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "path.simplify_threshold": 0.5,
    "axes.unicode_minus": True,
}
_WIDTH, _HEIGHT = 5.4, 4.0
_POINTS = 72


@dataclass(frozen=True)
class Style:
    """How a series looks.

    Attributes:
        colour: of CSS.
        dashes: lengths of dashes and gaps in points; empty: solid.
        marker: Matplotlib's name; empty: none.
        width: of the line, in points.
        front: drawn above those behind.
    """

    colour: str
    dashes: tuple[float, ...] = ()
    marker: str = ""
    width: float = 2.0
    front: int = 3

    @property
    def line(self) -> Any:
        return (0, self.dashes) if self.dashes else "-"


TEACHER_STYLE = Style("#111827", (5, 2), "s", 1.8, 5)
BASELINE_STYLE = Style("#0072b2", (), "o", 2.0, 4)
RIVAL_STYLE = Style("#cc79a7", (7, 2, 1.5, 2), "D", 2.0, 4)
SUBJECT_STYLE = Style("#d55e00", (), "^", 2.8, 6)
BEST_OTHER_STYLE = Style("#009e73", (2, 1.5), "v", 2.0, 4)
OTHER_STYLE = Style("#b6bcc6", (), "", 0.9, 2)
BASE_RATE_STYLE = Style("#6b7280", (8, 5), "", 1.0, 1)
CONTROL_STYLE = Style("#7b8492", (1, 1.6), "", 1.3, 2)


@dataclass(frozen=True)
class Curve:
    """A method's precision over recall, as it is drawn; ``banded``: with the range over trials."""

    name: str
    points: PrecisionRecall
    style: Style
    banded: bool


@dataclass(frozen=True)
class Bar:
    """A difference and its interval; ``verdict`` as the report words it."""

    difference: float
    low: float
    high: float
    verdict: str
    style: Style


def swatch(style: Style) -> str:
    """A short piece of the series' line, as inline SVG for a legend."""
    shapes = {
        "o": '<circle cx="16" cy="6" r="3.4"/>',
        "s": '<rect x="13" y="3" width="6" height="6"/>',
        "D": '<path d="M16 2l4 4-4 4-4-4z"/>',
        "^": '<path d="M16 1.6l4.4 8h-8.8z"/>',
        "v": '<path d="M16 10.4l4.4-8h-8.8z"/>',
    }
    dash = f' stroke-dasharray="{" ".join(f"{d * style.width:g}" for d in style.dashes)}"' if style.dashes else ""
    line = f'<path d="M0 6H32" stroke="{style.colour}" stroke-width="{style.width:g}"{dash}/>'
    return (
        f'<svg class="swatch" viewBox="0 0 32 12" width="32" height="12" aria-hidden="true">{line}'
        f'<g fill="{style.colour}">{shapes.get(style.marker, "")}</g></svg>'
    )


def precision_recall_figure(
    name: str, curves: Sequence[Curve], base_rate: float, points: Mapping[str, Style], label: str
) -> str:
    """Precision over recall; those listed in ``points`` get a marker at every fifth of recall."""
    with rc_context(_RC):
        figure, axes = _figure()
        for place, curve in enumerate(sorted(curves, key=lambda one: one.name not in points)):
            style = curve.style
            if curve.banded:
                axes.fill_between(
                    RECALLS, curve.points.low, curve.points.high, color=style.colour, alpha=0.11, linewidth=0, zorder=1
                )
            axes.plot(
                RECALLS,
                curve.points.mean,
                color=style.colour,
                linestyle=style.line,
                linewidth=style.width,
                zorder=style.front,
                marker=style.marker if curve.name in points else "",
                markevery=(8 + 7 * place, 40),
                markersize=5.5,
                solid_joinstyle="round",
            )
        base = BASE_RATE_STYLE
        axes.axhline(base_rate, color=base.colour, linewidth=base.width, linestyle=base.line, zorder=base.front)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        return _inline(figure, name, label)


def reliability_figure(
    name: str, panels: Sequence[tuple[str, Style, Reliability, Reliability | None]], label: str
) -> str:
    """A panel a method: share of positives over mean score; hollow grey marks are before the temperature."""
    with rc_context(_RC):
        rows = -(-len(panels) // 2)
        figure = Figure(figsize=(_WIDTH, 0.5 + 2.25 * rows), layout="constrained")
        grid = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (title, style, after, before) in zip(grid, panels, strict=False):
            axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
            if before is not None:
                axes.plot(
                    before.score, before.share, color="#9ca3af", marker="o", markerfacecolor="white",
                    markersize=4, linewidth=0.8, zorder=2,
                )  # fmt: skip
            axes.vlines(after.score, after.low, after.high, color=style.colour, alpha=0.45, linewidth=1.4, zorder=3)
            axes.plot(
                after.score, after.share, color=style.colour, marker=style.marker or "o", markersize=5,
                linewidth=1.2, zorder=4,
            )  # fmt: skip
            axes.set_title(title, loc="left")
            axes.text(0.98, 0.03, _bin_note(after), ha="right", va="bottom", color=MUTED, fontsize=8.5)
            axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        figure.supxlabel("mean score of the bin", fontsize=9.5, color=INK)
        figure.supylabel("share truly positive", fontsize=9.5, color=INK)
        return _inline(figure, name, label)


def _bin_note(reliability: Reliability) -> str:
    low, high = int(reliability.rows.min()), int(reliability.rows.max())
    rows = f"{low}" if low == high else f"{low} to {high}"
    return f"{len(reliability.rows)} bins of {rows}"


def confidence_figure(name: str, series: Mapping[str, Array], titles: Mapping[str, str], label: str) -> str:
    """Histograms of c_i over [0, 1] as shares of the rows, with their means."""
    looks = {
        "train": Style("#0072b2", (), "", 1.2),
        "cross_fitted": Style("#009e73", (2, 1.5), "", 2.0),
        "held_out": Style("#d55e00", (5, 2), "", 2.0),
    }
    with rc_context(_RC):
        figure, axes = _figure()
        edges = np.linspace(0, 1, 21)
        for kind, values in series.items():
            look = looks[kind]
            share = np.histogram(np.clip(values, 0, 1), edges)[0] / len(values)
            axes.stairs(
                share, edges, color=look.colour, linestyle=look.line, linewidth=look.width,
                label=f"{titles[kind]}: mean {values.mean():.3f}",
            )  # fmt: skip
            if kind == "train":
                axes.stairs(share, edges, fill=True, color=look.colour, alpha=0.18, linewidth=0)
        axes.set(xlim=(0, 1), yscale="log", xlabel="teacher's confidence c", ylabel="share of rows (log scale)")
        least = min(1 / len(values) for values in series.values())
        axes.set_ylim(least / 2, 6)
        axes.set_yticks(
            shares := [s for s in (0.0001, 0.001, 0.01, 0.1, 1) if s >= least / 2], [f"{s:g}" for s in shares]
        )
        axes.legend(loc="upper left", frameon=True, facecolor="white", edgecolor="none", framealpha=0.85, fontsize=9)
        return _inline(figure, name, label)


def gap_figure(name: str, metrics: Mapping[str, Mapping[str, Bar]], label: str) -> str:
    """Metric -> method -> difference to the baseline: a panel a metric, a bar a method from 0, with its interval."""
    with rc_context(_RC):
        methods = list(dict.fromkeys(method for bars in metrics.values() for method in bars))[::-1]
        figure = Figure(figsize=(_WIDTH, 0.75 + 0.27 * max(3, len(methods))), layout="constrained")
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False).ravel()
        for axes, (title, bars) in zip(panels, metrics.items(), strict=True):
            for place, method in enumerate(methods):
                if method in bars:
                    _bar(axes, place, bars[method])
            axes.axvline(0, color=INK, linewidth=1, zorder=2.5)
            axes.set_yticks(range(len(methods)), methods)
            axes.tick_params(axis="y", length=0, labelcolor=INK)
            axes.grid(axis="y", visible=False)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
            axes.set_xlabel(title)
            axes.margins(y=0.02)
        return _inline(figure, name, label)


def _bar(axes: Axes, place: int, bar: Bar) -> None:
    clear = bar.verdict in ("better", "worse")
    axes.barh(place, bar.difference, height=0.62, color=bar.style.colour, alpha=0.5 if clear else 0.18, zorder=2)
    axes.plot([bar.low, bar.high], [place, place], color=INK, linewidth=1.4, zorder=3)
    axes.plot(bar.difference, place, marker="o" if clear else "|", color=INK, markersize=5, zorder=4)


def learning_figure(name: str, curves: Sequence[LossCurve], style: Style, label: str) -> str:
    """The training loss of one method: a thin line a trial, and their mean where they share their epochs."""
    with rc_context(_RC | {"font.size": 10.5}):
        figure = Figure(figsize=(3.2, 2.2), layout="constrained")
        axes = figure.subplots()
        for curve in curves:
            axes.plot(
                curve.epochs, curve.losses, color=style.colour, linewidth=1, alpha=0.5,
                marker="." if len(curve.epochs) == 1 else "",
            )  # fmt: skip
        if len({tuple(curve.epochs) for curve in curves}) == 1:
            mean = np.mean([curve.losses for curve in curves], axis=0)
            axes.plot(
                curves[0].epochs, mean, color=style.colour, linewidth=2, marker="o" if len(mean) <= 30 else "",
                markersize=4,
            )  # fmt: skip
        axes.set(xlabel="epoch", ylabel="training loss")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        return _inline(figure, name, label)


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    return figure, figure.subplots()


def _inline(figure: Figure, name: str, label: str) -> str:
    """The figure as an ``svg`` element of an HTML page.

    Args:
        figure: drawn within ``_RC``.
        name: of letters, digits and hyphens, of no other figure of the page: ids begin with it.
        label: what a screen reader says.
    """
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
