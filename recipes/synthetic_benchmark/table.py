"""The benchmark's document as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def render(document: Mapping[str, Any]) -> str:
    """Tables of every study, the curve, and what was expected beside what was found."""
    rows, how = document["rows"], document["training"]
    lines = [
        f"{len(document['seeds'])} seeds, paired: every method sees the same rows of a seed. Linear students and "
        f"teachers, {rows['train']} training rows, {rows['width']} regular features, {rows['held_out']} held-out "
        f"rows; {how['steps']} full-batch steps of Adam at {how['learning_rate']}, ridge {how['ridge']}, "
        f"torch {how['torch']}.",
        "",
        "Brackets after a value hold its 95 % interval over seeds; those after a difference hold together with the "
        "other comparisons of the table (Bonferroni). Accuracy in %, log-loss in nats.",
        "",
        "## What was expected, and what was found",
        "",
        "| study | expected | found: accuracy difference | held |",
        "|---|---|---|---|",
    ]
    for name, study in document["studies"].items():
        lines += [_expectation(name, one) for one in study["expectations"]]
    lines += ["", *_curve(document["curve"])]
    for name, study in document["studies"].items():
        lines += ["", *_study(name, study)]
    return "\n".join(lines) + "\n"


def _expectation(study: str, one: Mapping[str, Any]) -> str:
    claim = f"`{one['one']}` against `{one['other']}`: {one['verdict']} ({one['reason']})"
    return f"| {study} | {claim} | {_difference(one['found'], 100)} | {'yes' if one['held'] else '**no**'} |"


def _curve(curve: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Rise and fall with the predictiveness of the privileged feature",
        "",
        "Gain in accuracy over cross-entropy, in points.",
        "",
        "| predictiveness | teacher's accuracy | " + " | ".join(f"`{name}`" for name in curve["students"]) + " |",
        "|---" * (2 + len(curve["students"])) + "|",
    ]
    for k, knob in enumerate(curve["knobs"]):
        gains = " | ".join(_value(student["gain"][k], 100, sign=True) for student in curve["students"].values())
        lines.append(f"| {knob:g} | {_value(curve['teacher_accuracy'][k], 100)} | {gains} |")
    lines.append("")
    for name, student in curve["students"].items():
        word = "rises and then falls" if student["rises_then_falls"] else "no rise and fall beyond noise"
        lines.append(
            f"- `{name}`: {word}. Best at {student['best']:g}; above the low end by "
            f"{_difference(student['rise'], 100)}, above the high end by {_difference(student['fall'], 100)}."
        )
    return lines


def _study(name: str, study: Mapping[str, Any]) -> list[str]:
    teachers = ", ".join(f"{role} {_value(accuracy, 100)}" for role, accuracy in study["teachers"].items())
    lines = [
        f"## {name}",
        "",
        f"{study['about']} Teachers' held-out accuracy, uncorrupted: {teachers}.",
        "",
        f"| method | accuracy | against `{study['reference']}` | log-loss | against `{study['reference']}` |",
        "|---|---|---|---|---|",
    ]
    for method, scores in study["methods"].items():
        cells = [f"`{method}`"]
        for key, by in (("accuracy", 100), ("log_loss", 1)):
            apart = scores.get(f"{key}_difference")
            cells += [_value(scores[key], by), "-" if apart is None else _difference(apart, by)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _value(estimate: Sequence[float], by: float, *, sign: bool = False) -> str:
    digits = 1 if by == 100 else 3
    mean, low, high = (f"{by * value:{'+' if sign else ''}.{digits}f}" for value in estimate)
    return f"{mean} [{low}, {high}]"


def _difference(difference: Mapping[str, Any], by: float) -> str:
    return f"{_value((difference['mean'], *difference['interval']), by, sign=True)}: {difference['verdict']}"
