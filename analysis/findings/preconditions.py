"""The traffic light: what must hold before a difference means anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from analysis.question import Question

Light = Literal["green", "amber", "red"]
CROSSED_LIMIT: Final = 0.01
"""Share of units in both arms above which the assignment does not stick."""
_COVERAGE: Final = 0.8
_COVERAGE_GAP: Final = 0.05
_COVERAGE_LEVEL: Final = 0.001
_YOUNG: Final = 0.25


def assignment_lights(assignment: Mapping[str, Any]) -> list[dict[str, str]]:
    """Sample ratio, and units that met both arms."""
    shares = ", ".join(
        f"{name} {arm['units']:,} units ({arm['share']:.2%}, planned {arm['planned_share']:.2%})"
        for name, arm in assignment["arms"].items()
    )
    p = f"p = {assignment['p_value']:.2g}, always valid p = {assignment['always_valid_p']:.2g}"
    planned = "" if assignment["planned_shares_given"] else " Equal shares are assumed: none were given (--shares)."
    lights = [_light("red" if assignment["mismatch"] else "green", "sample ratio", f"{shares}; {p}.{planned}")]
    crossed, units = assignment["crossed"]["units"], assignment["units"]
    state: Light = "green" if not crossed else ("red" if crossed > CROSSED_LIMIT * units else "amber")
    said = "Every unit met one arm." if not crossed else (
        f"{crossed:,} of {units:,} units met more than one arm and are left out. Were the weights changed? Then say "
        "since when they hold (--since)."
    )  # fmt: skip
    return [*lights, _light(state, "one arm a unit", said)]


def result_lights(tasks: Mapping[str, Any], guardrails: Mapping[str, Any], question: Question) -> list[dict[str, str]]:
    """Enough labelled units, labels that are all there and alike in both arms, guardrails."""
    return [_enough(tasks, question), _labels(tasks), _guardrails(guardrails)]


def primary_of(task: Mapping[str, Any], question: Question) -> dict[str, Any] | None:
    """The primary metric of a task by the evidence that decides; None where there is none."""
    source = task["quality"] if question.evidence == "split" else task["paired"]
    return None if source is None else source["metrics"].get(question.primary)


def _enough(tasks: Mapping[str, Any], question: Question) -> dict[str, str]:
    ready = {
        name: bool((found := primary_of(task, question)) and found["enough_units"]) for name, task in tasks.items()
    }
    few = [name for name, enough in ready.items() if not enough]
    units = "; ".join(
        f"{name}: {task['labelled_units'][0]:,} in control, {task['labelled_units'][1]:,} in treatment"
        for name, task in tasks.items()
    )
    said = f"Labelled units: {units or 'none'}."
    if few:
        said += f" Too few that count on {', '.join(few)} ({question.min_units} are needed in each arm)."
    state: Light = "red" if len(few) == len(ready) else ("amber" if few else "green")
    return _light(state, "labelled units", said)


def _labels(tasks: Mapping[str, Any]) -> dict[str, str]:
    state: Light = "green"
    said = []
    for name, task in tasks.items():
        labels = task["labels"]
        shares = [arm["coverage"] for arm in labels["arms"]]
        if shares == [None, None]:  # no fault of the labels
            said.append(f"{name}: neither arm serves it")
            continue
        if None in shares:
            state = "red"
            said.append(f"{name}: an arm has no verdict")
            continue
        p90 = [arm["delay_h"]["p90"] for arm in labels["arms"]]
        text = f"{name}: labels stand for {shares[0]:.0%} and {shares[1]:.0%} of the verdicts"
        if None not in p90:
            text += f", nine of ten within {p90[0]:.3g} and {p90[1]:.3g} h"
        selective = labels["coverage_p"] < _COVERAGE_LEVEL and abs(shares[0] - shares[1]) > _COVERAGE_GAP
        if selective:
            text += "; the arms are not labelled alike, so they cannot be compared"
        young = labels["young"] or 0.0
        low = min(shares) < _COVERAGE or young > _YOUNG
        if min(shares) < _COVERAGE and not selective:
            text += "; labels still come, or were sampled with another probability than was told"
        if young > _YOUNG:
            text += f"; {young:.0%} of the verdicts are younger than that"
        state = "red" if selective or state == "red" else ("amber" if low or state == "amber" else "green")
        said.append(text)
    return _light(state, "labels", "; ".join(said) + "." if said else "No task.")


def _guardrails(guardrails: Mapping[str, Any]) -> dict[str, str]:
    titles = {"p50_ms": "p50", "p99_ms": "p99", "error_rate": "errors", "cost_per_1000": "cost"}
    states = {titles[name]: found["status"] for name, found in guardrails.items()}
    breached = [name for name, status in states.items() if status == "breached"]
    undecided = [name for name, status in states.items() if status == "open"]
    if breached:
        return _light("red", "guardrails", f"Beyond their limits: {', '.join(breached)}.")
    if undecided:
        return _light("amber", "guardrails", f"Not yet shown to be within their limits: {', '.join(undecided)}.")
    return _light("green", "guardrails", "p50, p99, errors and cost are within their limits.")


def _light(state: Light, name: str, said: str) -> dict[str, str]:
    return {"name": name, "state": state, "says": said}
