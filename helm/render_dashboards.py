"""Draws the chart's dashboards from a running Prometheus, so that they can be looked at where there is no Grafana.

Our own: the libraries there are write dashboards (grafanalib, grafana-foundation-sdk) or have a Grafana draw them.

    python helm/render_dashboards.py --prometheus http://127.0.0.1:9090 --out rendered --minutes 15

One PNG for each dashboard: its panels, queries, units and legends, with the pickers at `All`. A development tool: it
needs matplotlib, which is no dependency of the product and in none of its extras for serving or load tests
(`pip install matplotlib`). Exit 1: a panel is empty or its query is refused; stderr names it.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FuncFormatter, MaxNLocator

Json = dict[str, Any]

DASHBOARDS = Path(__file__).resolve().parent / "cpfd" / "files" / "dashboards"
POINTS = 240
NO_DATA = "no data"


class Refused(RuntimeError):
    """Prometheus refused a query."""


def ask(prometheus: str, path: str, **query: Any) -> list[Json]:
    """The result of a query.

    Raises:
        Refused: Prometheus says why.
    """
    url = f"{prometheus.rstrip('/')}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            found: list[Json] = json.load(reply)["data"]["result"]
            return found
    except urllib.error.HTTPError as error:
        raise Refused(json.load(error).get("error", str(error))) from error


def variables(dashboard: Json, rate_interval_s: int) -> dict[str, str]:
    """What each ``$name`` stands for when every picker is as it was saved."""
    found = {"__rate_interval": f"{rate_interval_s}s"}
    for picker in dashboard["templating"]["list"]:
        if picker["type"] == "query":
            found[picker["name"]] = picker["allValue"]
        elif picker["type"] == "textbox":
            found[picker["name"]] = picker["current"]["value"]
    return found


def filled(expression: str, values: dict[str, str]) -> str:
    """The expression with its variables replaced; the longest names first."""
    for name in sorted(values, key=len, reverse=True):
        expression = expression.replace(f"${{{name}}}", values[name]).replace(f"${name}", values[name])
    return expression


def legend(template: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda name: labels.get(name[1], ""), template)


def shown(value: float, unit: str) -> str:
    """A number as Grafana writes it in a unit."""
    if math.isnan(value):
        return "NaN"
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s":
        steps = ((1, "s"), (1e3, "ms"), (1e6, "µs"))
        return next((f"{value * by:.3g} {name}" for by, name in steps if value * by >= 1), f"{value:.3g} s")
    if unit == "bytes":
        step = 0 if value < 1 else min(4, int(math.log(value, 1024)))
        return f"{value / 1024**step:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[step]}"
    suffix = {"reqps": " req/s"}.get(unit, "")
    return f"{value:.3g}{suffix}"


class Drawing:
    """Draws panels of one dashboard and remembers which are empty."""

    def __init__(self, prometheus: str, values: dict[str, str], end: float, seconds: float) -> None:
        self._prometheus = prometheus
        self._values = values
        self._end = end
        self._seconds = seconds
        self.faults: list[str] = []

    def draw(self, axes: Axes, panel: Json) -> None:
        axes.set_title(panel["title"], fontsize=10, loc="left", fontweight="bold")
        try:
            {"stat": self._stat, "table": self._table}.get(panel["type"], self._lines)(axes, panel)
        except Refused as error:
            self._fault(axes, panel, f"refused: {error}")

    def _fault(self, axes: Axes, panel: Json, what: str) -> None:
        expected = panel["fieldConfig"]["defaults"].get("noValue") if what == NO_DATA else None
        if expected is None:
            self.faults.append(f"{panel['title']}: {what}")
        what = expected or what
        axes.axis("off")
        axes.text(0.5, 0.5, what, ha="center", va="center", color="crimson", transform=axes.transAxes, wrap=True)

    def _instant(self, panel: Json) -> list[Json]:
        return [
            found
            for target in panel["targets"]
            for found in ask(self._prometheus, "query", query=filled(target["expr"], self._values), time=self._end)
        ]

    def _stat(self, axes: Axes, panel: Json) -> None:
        axes.axis("off")
        found = self._instant(panel)
        if not found:
            self._fault(axes, panel, NO_DATA)
            return
        text = shown(float(found[0]["value"][1]), panel["fieldConfig"]["defaults"]["unit"])
        axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=40, transform=axes.transAxes)

    def _table(self, axes: Axes, panel: Json) -> None:
        axes.axis("off")
        found = self._instant(panel)
        if not found:
            self._fault(axes, panel, NO_DATA)
            return
        columns = sorted({name for row in found for name in row["metric"]})
        cells = [[row["metric"].get(name, "")[:18] for name in columns] for row in found]
        table = axes.table(cellText=cells, colLabels=columns, loc="upper center", cellLoc="left")
        table.auto_set_font_size(False)
        table.set_fontsize(8)

    def _lines(self, axes: Axes, panel: Json) -> None:
        defaults = panel["fieldConfig"]["defaults"]
        unit, drawn = defaults["unit"], 0
        for target in panel["targets"]:
            series = ask(
                self._prometheus,
                "query_range",
                query=filled(target["expr"], self._values),
                start=self._end - self._seconds,
                end=self._end,
                step=max(1, int(self._seconds / POINTS)),
            )
            if not series and "noValue" not in panel["fieldConfig"]["defaults"]:
                self.faults.append(f"{panel['title']}: no series for {target['legendFormat']}")
            for found in series:
                times = [datetime.fromtimestamp(float(at), UTC) for at, _ in found["values"]]
                numbers = [float(value) for _, value in found["values"]]
                name = legend(target["legendFormat"], found["metric"])
                last = next((n for n in reversed(numbers) if not math.isnan(n)), math.nan)
                axes.plot(times, numbers, label=f"{name}: {shown(last, unit)}", linewidth=1.2)
                drawn += not all(map(math.isnan, numbers))
        if not drawn:
            self._fault(axes, panel, NO_DATA)
            return
        axes.set_ylim(bottom=defaults.get("min"), top=defaults.get("max"))
        axes.set_xlim(*(datetime.fromtimestamp(at, UTC) for at in (self._end - self._seconds, self._end)))  # type: ignore[arg-type]
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, unit)))
        axes.xaxis.set_major_locator(locator := AutoDateLocator(maxticks=6))
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6.5, loc="upper left", bbox_to_anchor=(1.0, 1.02), frameon=False)


def render(dashboard: Json, out: Path, drawing: Drawing) -> None:
    """Writes the dashboard as ``out``, two panels in a row."""
    panels = dashboard["panels"]
    rows = math.ceil(len(panels) / 2)
    figure, grid = pyplot.subplots(rows, 2, figsize=(15, 2.6 * rows), squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        drawing.draw(axes, panel)
    for axes in list(grid.flat)[len(panels) :]:
        axes.axis("off")
    figure.suptitle(dashboard["title"])
    figure.tight_layout()
    figure.savefig(out, dpi=70)
    pyplot.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description="Draws the dashboards from a running Prometheus.")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090")
    parser.add_argument("--out", type=Path, required=True, help="directory of the PNGs")
    parser.add_argument("--minutes", type=float, default=15.0, help="up to now (default: %(default)g)")
    parser.add_argument("--rate-interval", type=int, default=60, help="seconds: 4 scrapes (default: %(default)d)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    faulty = False
    for path in sorted(DASHBOARDS.glob("*.json")):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        values = variables(dashboard, options.rate_interval)
        drawing = Drawing(options.prometheus, values, time.time(), 60 * options.minutes)
        render(dashboard, options.out / f"{path.stem}.png", drawing)
        sys.stderr.writelines(f"{path.stem}: {fault}\n" for fault in drawing.faults)
        faulty |= bool(drawing.faults)
    return int(faulty)


if __name__ == "__main__":
    sys.exit(main())
