"""Means over tasks, their comparisons, and the published claims checked against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from training.evaluation.bootstrap import interval, number
from training.evaluation.comparisons import (
    BASELINE,
    COMPARED,
    RIVAL,
    SUBJECT,
    TAMPERED,
    TEACHER,
    compare,
    gaps_closed,
    relative_gain,
)
from training.evaluation.metrics import Array
from training.report.build import TaskResult

_AVERAGED: Final = ("f1", "pr_auc", "roc_auc", "max_f1", "recall_at_p80", "recall_at_p90", "miss_rate", "ece", "brier")
PUBLISHED: Final = {"gain over X-VLM": 0.0676, "gain over PFD": 0.0231, "gap closed": 0.846}
"""Mean over five tasks of F1, as the abstract of arXiv:2410.03038 has them; read as relative gains."""
CONFIRMED, COMPATIBLE, REFUTED = "confirmed", "a gain, of undecided size", "refuted"
UNDECIDED = "cannot be decided on these data"


def mean_over_tasks(results: Sequence[TaskResult], methods: Sequence[str]) -> dict[str, Any]:
    """Every method's mean over tasks with its interval, comparisons and shares of the gap.

    Tasks draw their replicates independently of each other, and replicate r of the mean is the mean of their r-th.
    """
    means = _means(results, methods)
    return {
        "tasks": [result.task.name for result in results],
        "methods": {m: {metric: _summary(v) for metric, v in by_metric.items()} for m, by_metric in means.items()},
        "comparisons": compare(means, methods),
        "relative_gains": {
            f"{one} - {other}": {metric: relative_gain(means, one, other, metric) for metric in COMPARED}
            for one, other in ((SUBJECT, BASELINE), (SUBJECT, RIVAL), (RIVAL, BASELINE), (TEACHER, BASELINE))
            if one in means and other in means
        },
        "gap_closed": gaps_closed(means, methods),
    }


def claims(mean: Mapping[str, Any]) -> dict[str, Any]:
    """The published claims about CPFD, each with what was found and one of four verdicts.

    confirmed: the interval lies above 0 and nowhere below the published value. a gain, of undecided size: it lies above
    0 and holds the published value. refuted: it lies wholly below the published value. Else it cannot be decided. A
    share of the gap that is undefined decides nothing.
    """
    judged = {}
    for name, pair in (("gain over X-VLM", f"{SUBJECT} - {BASELINE}"), ("gain over PFD", f"{SUBJECT} - {RIVAL}")):
        gain = mean["relative_gains"].get(pair, {}).get("f1")
        if gain is not None:
            judged[name] = _claim(name, gain["gain"], gain["interval"])
    closed = mean["gap_closed"].get(SUBJECT, {}).get("f1")
    if closed is not None:
        judged["gap closed"] = _claim("gap closed", closed["share"], closed["interval"], closed["why"])
    return judged


def judge(low: float | None, high: float | None, published: float) -> tuple[str, str]:
    """(verdict, reason in words) of a claim, from the interval of its quantity."""
    if low is None or high is None:
        return UNDECIDED, "it is not defined on these data"
    if high < 0:
        return REFUTED, "the difference is the other way round"
    if high < published:
        less = "there is a gain, but smaller than published" if low > 0 else "a gain of the published size is excluded"
        return REFUTED, less
    if low >= published:
        return CONFIRMED, "the gain is at least of the published size"
    if low > 0:
        return COMPATIBLE, "there is a gain; the published size is neither shown nor excluded"
    return UNDECIDED, "neither no gain nor the published one is excluded"


def verdict_paragraph(mean: Mapping[str, Any], judged: Mapping[str, Any]) -> str:
    """A paragraph on the published claims, made from the numbers alone."""
    tasks = len(mean["tasks"])
    sentences = [f"Mean F1 over {tasks} task{'s' if tasks != 1 else ''}, 95 % intervals."]
    for name, claim in judged.items():
        sentences.append(
            f"Published {name} {_percent(claim['published'], name)}: {claim['verdict']} "
            f"(found {_found(claim, name)}; {claim['why']})."
        )
    teacher = mean["comparisons"].get(f"{TEACHER} - {BASELINE}", {}).get("f1")
    if teacher is not None:
        sentences.append(f"The teacher is {_in_words(teacher, 'the baseline')}: {_points(teacher)}.")
    sentences.append(_credit(mean))
    return " ".join(sentence for sentence in sentences if sentence)


def _means(results: Sequence[TaskResult], methods: Sequence[str]) -> dict[str, dict[str, Array]]:
    """Method -> metric -> (1 + R,) mean over tasks, of the metrics that all tasks have."""
    by_task = [result.means for result in results]
    return {
        method: {
            metric: np.mean([means[method][metric] for means in by_task], axis=0)
            for metric in _AVERAGED
            if all(metric in means[method] for means in by_task)
        }
        for method in (TEACHER, *methods)
    }


def _summary(values_R: Array) -> dict[str, Any]:
    return {"mean": number(values_R[0]), "interval": interval(values_R[1:])}


def _claim(name: str, value: float | None, bounds: list[float | None] | None, why: str | None = None) -> dict[str, Any]:
    low, high = bounds or (None, None)
    verdict, reason = judge(low, high, PUBLISHED[name])
    return {
        "published": PUBLISHED[name],
        "found": value,
        "interval": bounds,
        "verdict": verdict,
        "why": why or reason,
    }


def _credit(mean: Mapping[str, Any]) -> str:
    """Whether a gain of CPFD can be credited to the teacher's confidence in each row."""
    pairs = {m: mean["comparisons"].get(f"{SUBJECT} - {m}", {}).get("f1") for m in TAMPERED}
    known = {m: entry for m, entry in pairs.items() if entry is not None}
    if not known:
        return ""
    beaten = [m for m, entry in known.items() if entry["adjusted_verdict"] == "better"]
    details = ", ".join(f"`{m}` {_points(entry)}" for m, entry in known.items())
    if len(beaten) == len(known):
        return f"CPFD beats each of its tampered weights ({details}): its gain is owed to confidence by row."
    return (
        f"CPFD is distinguishably better than {len(beaten)} of its {len(known)} tampered weights ({details}): whatever "
        "it gains cannot be credited to the teacher's confidence in each row."
    )


def _in_words(entry: Mapping[str, Any], other: str) -> str:
    word = entry["adjusted_verdict"]
    return f"{word} from {other}" if word == "not distinguishable" else f"{word} than {other}"


def _points(entry: Mapping[str, Any]) -> str:
    if entry["difference"] is None or None in entry["interval"]:
        return "undefined"
    low, high = entry["interval"]
    return f"{entry['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _percent(value: float, name: str) -> str:
    return f"{100 * value:.1f} %" if name == "gap closed" else f"{100 * value:+.2f} %"


def _found(claim: Mapping[str, Any], name: str) -> str:
    if claim["found"] is None or not claim["interval"] or None in claim["interval"]:
        return "no defined value"
    low, high = claim["interval"]
    return f"{_percent(claim['found'], name)} [{_percent(low, name)}, {_percent(high, name)}]"
