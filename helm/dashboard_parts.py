"""What dashboards are made of: expressions over the release's series, panels, and the page around them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

CLASSIFY = 'route="/classify",namespace=~"$namespace",job=~"$job"'
OWN = 'namespace=~"$namespace",job=~"$job"'
DONE = f'{OWN},outcome="done"'
WINDOW = "$__rate_interval"


def rate(metric: str, by: str, labels: str = OWN) -> str:
    """Per-second rate, summed ``by`` labels."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{{labels}}}[{WINDOW}]))"


def quantile(q: float, metric: str, by: str = "", labels: str = OWN) -> str:
    grouped = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', grouped, labels)})"


def increase(metric: str, by: str, labels: str = OWN) -> str:
    """How often in five minutes: rates of rare events are too small to read."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (increase({metric}{{{labels}}}[5m]))"


def panel(
    title: str,
    unit: str,
    *series: tuple[str, str],
    kind: str = "timeseries",
    text: str = "",
    most: float | None = None,
    no_value: str = "",
) -> Json:
    """A panel of (legend, expression) series.

    Args:
        title: its question, in few words.
        unit: Grafana's name of it.
        series: legends and expressions.
        kind: ``timeseries``, ``stat`` or ``table``.
        text: what the title does not say.
        most: the top of the axis, where the unit has one.
        no_value: what is written where there is nothing to draw, and that is right.
    """
    defaults: Json = {"unit": unit, "min": 0}
    if most is not None:
        defaults["max"] = most
    if no_value:
        defaults["noValue"] = no_value
    targets = [
        {"refId": chr(65 + i), "expr": expression, "legendFormat": legend, "instant": kind in ("stat", "table")}
        for i, (legend, expression) in enumerate(series)
    ]
    made: Json = {}
    if kind == "table":
        for target in targets:
            target["format"] = "table"
        hidden = {"Time": True, "Value": True}
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return made | {
        "title": title,
        "type": kind,
        "description": text,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}} if kind == "timeseries" else {},
        "targets": targets,
    }


def dashboard(uid: str, title: str, panels: list[Json], extra: list[Json] | None = None) -> Json:
    """Panels, two in a row, below pickers of data source, namespace and job."""
    for i, made in enumerate(panels):
        made |= {"id": i + 1, "gridPos": {"h": 8, "w": 12, "x": 12 * (i % 2), "y": 8 * (i // 2)}}
    pickers: list[Json] = [{"name": "datasource", "type": "datasource", "query": "prometheus"}]
    source = {"type": "prometheus", "uid": "${datasource}"}
    for name in ("namespace", "job"):
        query = f"label_values(cpfd_build_info, {name})"
        pickers.append(
            {
                "name": name,
                "type": "query",
                "datasource": source,
                "query": query,
                "includeAll": True,
                "allValue": ".*",
                "multi": True,
                "refresh": 2,
                "current": {"text": "All", "value": "$__all"},
            }
        )
    return {
        "uid": uid,
        "title": title,
        "tags": ["cpfd"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": pickers + (extra or [])},
        "links": [{"type": "dashboards", "tags": ["cpfd"], "title": "cpfd", "asDropdown": True}],
        "panels": panels,
    }
