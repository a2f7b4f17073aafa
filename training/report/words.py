"""The report in words: one verdict for each task, stated as its comparisons allow and no stronger."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from training.evaluation.comparisons import BASELINE, COMPARED, RIVAL, TAMPERED, TEACHER
from training.report.titles import full, metric_title, short, subject_among

Report = Mapping[str, Any]
Status = Literal["better", "worse", "mixed", "none"]


@dataclass(frozen=True)
class Verdict:
    """The verdict on one task for the student under test.

    Attributes:
        status: of the student against the baseline, over F1 and PR-AUC together.
        headline: the same in words.
        sentences: the comparisons behind it.
    """

    status: Status
    headline: str
    sentences: tuple[str, ...]


def number(value: float | None, *, signed: bool = False) -> str:
    """Three decimals; a dash where the value is undefined."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def bracket(interval: Sequence[float | None], *, signed: bool = False) -> str:
    """The interval, in brackets."""
    return f"[{number(interval[0], signed=signed)}, {number(interval[1], signed=signed)}]"


def subject_of(report: Report) -> str | None:
    """The student that is judged: CPFD, else PFD, else the last one that is not the baseline."""
    return subject_among(report["methods"])


def verdict_on(entry: Mapping[str, Any]) -> str:
    """``better``, ``worse`` or ``not distinguishable``; adjusted for the number of comparisons where the report is."""
    return str(entry.get("adjusted_verdict") or entry["verdict"])


def verdict_words(entry: Mapping[str, Any]) -> str:
    """The verdict; where the interval alone would say otherwise, with the reason."""
    verdict = verdict_on(entry)
    return verdict if verdict == entry["verdict"] else f"{verdict} once adjusted for the number of comparisons"


def task_verdict(task: Mapping[str, Any], subject: str | None, methods: Sequence[str]) -> Verdict:
    """The verdict of the task on ``subject``, a student's name."""
    pair = task["comparisons"].get(f"{subject} - {BASELINE}")
    if subject is None or pair is None:
        return Verdict("none", "No student is compared with the baseline.", tuple(_of_teacher(task, None)))
    sentences = [_against(task, subject, BASELINE)]
    sentences += [_against(task, subject, other) for other in (RIVAL, *TAMPERED) if other != subject]
    sentences += [*_of_teacher(task, subject), _of_controls(task, subject, methods)]
    status, words = _status(pair)
    if why := withheld_words(task):
        return Verdict("none", f"{short(subject)} against the baseline: no verdict.", (why, *filter(None, sentences)))
    return Verdict(status, f"{short(subject)} against the baseline: {words}.", tuple(s for s in sentences if s))


def withheld_words(task: Mapping[str, Any]) -> str:
    """Why the task has no verdicts, as a sentence; empty where it has them."""
    why = task.get("verdicts_withheld", "")
    return f"{why[:1].upper()}{why[1:]}." if why else ""


def overall(report: Report, verdicts: Mapping[str, Verdict]) -> str:
    """One sentence over all tasks."""
    subject = subject_of(report)
    if subject is None:
        return "The run holds no student beside the baseline: nothing is judged."
    named = {
        "better": "better",
        "worse": "worse",
        "mixed": "better in one metric and worse in the other",
        "none": "not distinguishable in either metric",
    }
    parts = []
    for status, words in named.items():
        tasks = [name for name, verdict in verdicts.items() if verdict.status == status]
        if tasks:
            parts.append(f"{words} on {len(tasks)} ({', '.join(tasks)})")
    summary = "; ".join(parts)
    return f"Of {len(verdicts)} tasks, judged by F1 and PR-AUC, {short(subject)}, against the baseline, is {summary}."


def gap_closed_words(task: Mapping[str, Any], methods: Iterable[str]) -> list[str]:
    """A sentence for each of the methods and metric in which a gap was closed, one for all where it is undefined."""
    sentences, undefined = [], {}
    for method in methods:
        for metric, gap in task["gap_closed"].get(method, {}).items():
            if gap["share"] is None:
                undefined[metric] = gap["why"]
                continue
            low, high = (_percent(bound) for bound in gap["interval"])
            share = _percent(gap["share"])
            words = f"{short(method)} closes {share} % [{low}, {high}] of the gap in {metric_title(metric)}"
            sentences.append(f"{words} between baseline and teacher.")
    for metric, why in undefined.items():
        sentences.append(f"The share of the gap closed in {metric_title(metric)} is undefined: {why}.")
    return sentences


def _percent(share: float | None) -> str:
    return "-" if share is None or math.isnan(share) else f"{100 * share:.0f}"


def _status(pair: Mapping[str, Any]) -> tuple[Status, str]:
    metrics_by_verdict: dict[str, list[str]] = {}
    for metric in COMPARED:
        if metric in pair:
            metrics_by_verdict.setdefault(verdict_on(pair[metric]), []).append(metric_title(metric))
    words = {"better": "better in", "worse": "worse in", "not distinguishable": "no difference shown in"}
    text = ", ".join(f"{words[v]} {' and '.join(metrics_by_verdict[v])}" for v in words if v in metrics_by_verdict)
    if "better" in metrics_by_verdict:
        return ("mixed" if "worse" in metrics_by_verdict else "better"), text
    return ("worse" if "worse" in metrics_by_verdict else "none"), text


def _against(task: Mapping[str, Any], one: str, other: str) -> str:
    pair = task["comparisons"].get(f"{one} - {other}")
    if pair is None:
        return ""
    parts = [
        f"{metric_title(metric)} {number(entry['difference'], signed=True)} "
        f"{bracket(entry['interval'], signed=True)}, {verdict_words(entry)}"
        for metric, entry in pair.items()
    ]
    name = short(one)
    return f"{name[:1].upper()}{name[1:]} against {short(other)}: {'; '.join(parts)}."


def _of_teacher(task: Mapping[str, Any], subject: str | None) -> list[str]:
    sentences = [_against(task, TEACHER, BASELINE)]
    pair = task["comparisons"].get(f"{TEACHER} - {BASELINE}")
    if pair is not None and not any(verdict_on(entry) == "better" for entry in pair.values()):
        sentences.append("There is no gap shown that distillation from this teacher could close.")
    return sentences if subject is None else [*sentences, *gap_closed_words(task, [subject])]


def _of_controls(task: Mapping[str, Any], subject: str, methods: Sequence[str]) -> str:
    """The student compared with the control of the highest PR-AUC."""
    controls = [m for m in task["methods"] if m not in methods]
    known = [c for c in controls if task["methods"][c]["pr_auc"]["mean"] is not None]
    if not known:
        return "No control applies to this task."
    best = max(known, key=lambda c: float(task["methods"][c]["pr_auc"]["mean"]))
    own, control = task["methods"][subject]["pr_auc"], task["methods"][best]["pr_auc"]
    text = (
        f"The highest control, {full(best)}, has PR-AUC {number(control['mean'])} {bracket(control['interval'])}; "
        f"{short(subject)} has {number(own['mean'])} {bracket(own['interval'])}."
    )
    pair = task["comparisons"].get(f"{subject} - {best}")
    if pair is not None:
        clear = verdict_on(pair["pr_auc"]) == "better"
    else:
        low = own["interval"][0]
        clear = low is not None and control["mean"] < low
    if clear:
        return text
    if pair is not None and verdict_on(pair["pr_auc"]) == "worse":
        return f"{text} The student is worse than it: what the control reads alone tells more than the student found."
    return f"{text} The student is not clear of it: this does not show that it looks at more than the control does."
