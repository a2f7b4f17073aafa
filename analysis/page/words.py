"""Numbers in words, and the rows of the page's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from analysis.findings.metrics import LOWER_IS_BETTER, TITLES

GUARDRAILS: Final = {
    "p50_ms": ("p50 latency, ms", "treatment / control", "ratio"),
    "p99_ms": ("p99 latency, ms", "treatment / control", "ratio"),
    "error_rate": ("requests without a verdict", "treatment - control", "difference"),
    "cost_per_1000": ("cost per 1,000 verdicts", "treatment / control", "ratio"),
}
STATUS_WORDS: Final = {"held": "within", "breached": "beyond", "open": "open"}
VERDICT_WORDS: Final = {
    "better": "better",
    "worse": "worse",
    "not distinguishable": "no difference shown",
    "too few units": "too few labelled units",
}


def number(value: float | None, *, signed: bool = False) -> str:
    """Three decimals; a dash where the value is undefined."""
    if value is None:
        return "-"
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def plain(value: float | None) -> str:
    """Three significant digits, without an exponent for everyday sizes; a dash where the value is undefined."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def bracket(interval: Sequence[float | None], *, signed: bool = False) -> str:
    """The interval, in brackets; empty where neither end is known."""
    if all(bound is None for bound in interval):
        return ""
    return f"[{number(interval[0], signed=signed)}, {number(interval[1], signed=signed)}]"


def task_sentence(name: str, task: Mapping[str, Any], metric: str, margin: float) -> str:
    """The verdict on one task."""
    verdict = task["verdict"]
    if verdict["verdict"] == "too few units":
        return f"{name}: too few labelled units to say anything about {TITLES[metric]}."
    text = (
        f"{name}: {TITLES[metric]} {number(verdict['difference'], signed=True)} "
        f"{bracket(verdict['always_valid_interval'], signed=True)}, {VERDICT_WORDS[verdict['verdict']]}"
    )
    inside = "shown" if verdict["within_margin"] else "not shown"
    return f"{text}; {inside} to be no worse than by {margin:g}."


def metric_rows(quality: Mapping[str, Any], primary: str) -> list[dict[str, Any]]:
    """The rows of a task's table: the primary metric first."""
    names = [primary, *(name for name in quality["metrics"] if name != primary)]
    rows = [_metric_row(name, quality["metrics"][name], primary) for name in names if name in quality["metrics"]]
    for name, entry in quality["ranked"].items():
        rows.append(
            {
                "title": _title(name),
                "primary": False,
                "arms": [(number(arm["value"]), bracket(arm["bootstrap_interval"])) for arm in entry["arms"]],
                "difference": (number(entry["difference"], signed=True),
                               bracket(entry["bootstrap_interval"], signed=True)),
                "always_valid": "",
                "bootstrap": bracket(entry["bootstrap_interval"], signed=True),
                "cuped": ("", ""),
                "p": "",
            }
        )  # fmt: skip
    return rows


def _metric_row(name: str, entry: Mapping[str, Any], primary: str) -> dict[str, Any]:
    cuped = entry.get("cuped")
    return {
        "title": _title(name),
        "primary": name == primary,
        "arms": [(number(arm["value"]), bracket(arm["interval"])) for arm in entry["arms"]],
        "difference": (number(entry["difference"], signed=True), bracket(entry["interval"], signed=True)),
        "always_valid": bracket(entry["always_valid_interval"], signed=True) or "too few units",
        "bootstrap": bracket(entry["bootstrap_interval"], signed=True),
        "cuped": ("", "") if cuped is None else (
            number(cuped["difference"], signed=True), bracket(cuped["always_valid_interval"], signed=True)),
        "p": "-" if not entry["enough_units"] else f"{(cuped or entry)['always_valid_p']:.2g}",
    }  # fmt: skip


def _title(name: str) -> str:
    arrow = "less is better" if name in LOWER_IS_BETTER else "more is better"
    return f"{TITLES[name]}|{arrow}"


def paired_rows(paired: Mapping[str, Any], primary: str) -> list[dict[str, Any]]:
    """The rows of the table of shadow pairs."""
    names = [primary, *(name for name in paired["metrics"] if name != primary)]
    return [
        {
            "title": _title(name),
            "primary": name == primary,
            "arms": [(number(value), "") for value in entry["arms"]],
            "difference": (number(entry["difference"], signed=True), bracket(entry["interval"], signed=True)),
            "always_valid": bracket(entry["always_valid_interval"], signed=True) or "too few units",
            "bootstrap": bracket(entry["bootstrap_interval"], signed=True),
            "cuped": ("", ""),
            "p": "-" if not entry["enough_units"] else f"{entry['always_valid_p']:.2g}",
        }
        for name in names
        if (entry := paired["metrics"].get(name)) is not None
    ]


def paired_sentence(paired: Mapping[str, Any]) -> str:
    """How many pairs there are, how often they differ, and McNemar's test."""
    text = (
        f"{paired['pairs']:,} requests were answered by both arms, {paired['labelled_pairs']:,} of them are labelled "
        f"({paired['labelled_units']:,} units). "
        f"The arms' flags differ on {paired['disagreement']['share']:.1%} of all pairs."
    )
    test = paired["mcnemar"]
    if test["p_value"] is None:
        return f"{text} McNemar's test is left out: {test['why']}."
    return (
        f"{text} Where one arm alone is right, in one pair a unit, it is the treatment {test['treatment_right']} times "
        f"and the control {test['control_right']} times: exact p = {test['p_value']:.2g}, always valid "
        f"p = {test['always_valid_p']:.2g}."
    )


def guardrail_rows(guardrails: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the guardrails' table."""
    rows = []
    for name, (title, compared, key) in GUARDRAILS.items():
        entry = guardrails[name]
        if name == "cost_per_1000" and entry["unit"] == "CPU seconds":
            title = f"{title}, CPU s"
        low, high = entry["always_valid_interval"]
        rows.append(
            {
                "title": title,
                "compared": compared,
                "arms": [plain(arm["value"]) for arm in entry["arms"]],
                "value": plain(entry[key]) if key == "ratio" else number(entry[key], signed=True),
                "interval": "too few units" if high is None else f"[{plain(low)}, {plain(high)}]",
                "limit": plain(entry["limit"]),
                "status": entry["status"],
                "word": STATUS_WORDS[entry["status"]],
            }
        )
    return rows


def label_sentence(labels: Mapping[str, Any], arms: Sequence[str]) -> str:
    """How many verdicts are labelled, and after how long, in each arm."""
    parts = []
    for name, arm in zip(arms, labels["arms"], strict=True):
        delay = arm["delay_h"]
        after = (
            ""
            if delay["p50"] is None
            else f", half within {delay['p50']:.3g} h, nine of ten within {delay['p90']:.3g} h"
        )
        parts.append(
            f"{name}: {arm['labelled']:,} of {arm['verdicts']:,} verdicts labelled, {arm['positive']:,} positive{after}"
        )
    return "Time to label. " + "; ".join(parts) + "."


def novelty_sentence(novelty: Mapping[str, Any]) -> str:
    """Whether the effect moves over the days."""
    if novelty["slope_per_day"] is None:
        return "Too few days to say whether the effect moves."
    low, high = novelty["slope_interval"]
    text = f"Change a day: {novelty['slope_per_day']:+.4f} [{low:+.4f}, {high:+.4f}], p = {novelty['slope_p']:.2g}"
    if novelty["wears_off"]:
        return f"{text}: the effect wears off; the mean over the days flatters what will remain."
    return f"{text}: no wearing off is shown."
