"""The decision in a sentence, by rules that were fixed before the numbers were seen.

    no result   the sample ratio is broken, the assignment does not stick, or labels select between the arms
    keep        a guardrail is breached, or some task is worse, and not shown to be within the margin
    replace     every task is shown to be no worse than by the margin, and every guardrail is held
    wait        anything else: what is missing is named

Whether a task is better or worse is Holm's adjustment of always-valid p-values over the tasks, so the page may be read
daily. "No worse than by the margin" must hold in every task, which needs no adjustment (Berger, 1982).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.findings.metrics import LOWER_IS_BETTER, TITLES
from analysis.findings.numbers import number
from analysis.findings.preconditions import primary_of
from analysis.findings.quality import deciding
from analysis.question import Question
from analysis.statistics.multiplicity import holm


def task_verdicts(tasks: Mapping[str, Any], question: Question) -> dict[str, dict[str, Any]]:
    """Task -> verdict on the treatment in the primary metric, adjusted over tasks.

    ``verdict``: better, worse, or not distinguishable; ``within_margin``: shown to be no worse than by the margin;
    ``too few units`` instead of both where units do not suffice.
    """
    primaries = {name: primary_of(task, question) for name, task in tasks.items()}
    judged = {name: deciding(found) for name, found in primaries.items() if found is not None and found["enough_units"]}
    adjusted = holm({name: entry["always_valid_p"] for name, entry in judged.items()})
    verdicts = {}
    for name in tasks:
        if name not in judged:
            verdicts[name] = {"verdict": "too few units", "within_margin": False, "holm_p": None}
            continue
        entry = judged[name]
        low, high = entry["always_valid_interval"]
        gain = entry["difference"]
        if question.primary in LOWER_IS_BETTER:
            low, high, gain = (None if v is None else -v for v in (high, low, gain))
        word = "not distinguishable"
        if adjusted[name] < question.alpha and gain:
            word = "better" if gain > 0 else "worse"
        within = low is not None and low > -question.margin
        verdicts[name] = {
            "verdict": word,
            "within_margin": within,
            "holm_p": number(adjusted[name]),
            "difference": entry["difference"],
            "always_valid_interval": entry["always_valid_interval"],
        }
    return verdicts


def decide(
    lights: Sequence[Mapping[str, str]],
    verdicts: Mapping[str, Mapping[str, Any]],
    guardrails: Mapping[str, Any],
    arms: tuple[str, str],
    question: Question,
) -> dict[str, Any]:
    """Status (``no result``, ``keep``, ``replace``, ``wait``) and the sentence.

    Args:
        lights: of the preconditions; where the sample ratio is broken, of the assignment alone.
        verdicts: of ``task_verdicts``; empty where the sample ratio is broken.
        guardrails: their documents.
        arms: names of control and treatment.
        question: the primary metric and the margin.
    """
    control, treatment = arms
    red = {light["name"] for light in lights if light["state"] == "red"}
    spoilt = {
        "sample ratio": "units did not fall into the arms as planned, so they hold different units",
        "one arm a unit": "too many units met both arms",
        "labels": "the arms' videos are not labelled alike",
    }
    if why := [words for name, words in spoilt.items() if name in red]:
        return {"status": "no result", "sentence": f"No result: {why[0]}. Find the cause first."}
    metric = TITLES[question.primary]
    breached = [name for name, found in guardrails.items() if found["status"] == "breached"]
    worse = [name for name, v in verdicts.items() if v["verdict"] == "worse" and not v["within_margin"]]
    if breached or worse:
        reasons = [f"{metric} is worse on {_list(worse)}"] if worse else []
        reasons += [f"beyond the limit: {_titles(breached)}"] if breached else []
        return {"status": "keep", "sentence": f"Keep {control}. With {treatment}, {'; '.join(reasons)}."}
    few = [name for name, v in verdicts.items() if v["verdict"] == "too few units"]
    missing = [name for name, v in verdicts.items() if not v["within_margin"]]
    undecided = [name for name, found in guardrails.items() if found["status"] == "open"]
    if not missing and not undecided and verdicts:
        gained = [name for name, v in verdicts.items() if v["verdict"] == "better"]
        rest = [name for name in verdicts if name not in gained]
        parts = [f"{metric} is better on {_list(gained)}"] if gained else []
        parts += [f"no worse than by {question.margin:g} on {_list(rest)}"] if rest else []
        text = " and ".join(parts) if gained else f"{metric} is {parts[0]}"
        return {"status": "replace", "sentence": f"Replace {control} by {treatment}: {text}, and the guardrails hold."}
    still = [name for name in missing if name not in few]
    reasons = [f"too few labelled units on {_list(few)}"] if few else []
    reasons += [f"{metric} on {_list(still)} is not shown to be no worse than by {question.margin:g}"] if still else []
    reasons += [f"not shown to be within the limit: {_titles(undecided)}"] if undecided else []
    return {"status": "wait", "sentence": f"Wait: {'; '.join(reasons) or 'no task has a verdict'}."}


def _titles(names: Sequence[str]) -> str:
    titles = {"p50_ms": "p50 latency", "p99_ms": "p99 latency", "error_rate": "errors", "cost_per_1000": "cost"}
    return _list([titles[name] for name in names])


def _list(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 2 else names)
