"""The report's first screen: ship or do not ship, and why, before anything else. The page and the Markdown share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from training.evaluation.comparisons import BASELINE, TEACHER
from training.evaluation.shipping import (
    FREE_CONTROLS,
    WORD_CONTROL,
    ShipVerdict,
    at_thresholds,
    has_final,
    judge,
    overall,
)
from training.report.titles import short, subject_among
from training.report.words import bracket, number, verdict_on, verdict_words

Report = Mapping[str, Any]
DECISIONS: Final = {"ship": "Ship", "do_not_ship": "Do not ship", "too_little_data": "Too little data to tell"}
_NAMES: Final = {
    BASELINE: "X-VLM",
    "container_only": "container facts",
    "background_only": "background",
    WORD_CONTROL: "tf-idf",
}


@dataclass(frozen=True)
class Standing:
    """One of those that a student is measured against: what it is called, its PR-AUC, the interval.

    ``mark`` is ``better`` or ``worse`` of the student against the baseline.
    """

    head: str
    name: str
    value: str
    interval: str = ""
    mark: str = ""
    red: bool = False


@dataclass(frozen=True)
class TaskScreen:
    """One task on the first screen, all of it text but ``decision``."""

    name: str
    decision: str
    verdict: str
    why: tuple[str, ...]
    cautions: tuple[str, ...]
    near_chance: bool
    data: tuple[str, ...]
    base_rate: str
    roc_auc: str
    at_threshold: str
    against_baseline: str
    standings: tuple[Standing, ...]


@dataclass(frozen=True)
class FirstScreen:
    """The whole of it: the decision over all tasks, its words, then every task."""

    decision: str
    headline: str
    detail: str
    tasks: tuple[TaskScreen, ...]


def first_screen(report: Report) -> FirstScreen:
    """The first screen of a report; one from before the rule existed is judged by what it holds."""
    student = subject_among(report["methods"]) or BASELINE
    verdicts = {name: judge(task, student, final=has_final(task, student)) for name, task in report["tasks"].items()}
    decision = overall(verdicts)
    headline, detail = _headline(verdicts, student)
    teacher = "privileged"
    if report["manifest"].get("privileged_groups") == []:
        detail = f"{detail} No row has privileged features: the teacher reads what the student reads."
        teacher = "reads the same"
    tasks = tuple(_task_screen(name, report["tasks"][name], verdicts[name], student, teacher) for name in verdicts)
    return FirstScreen(decision, headline, detail, tasks)


def markdown_lines(screen: FirstScreen) -> list[str]:
    """The same for ``report.md``."""
    lines = [f"**{screen.headline}** {screen.detail}".rstrip(), ""]
    for task in screen.tasks:
        said = "; ".join((*task.why, *(f"caution: {words}" for words in task.cautions)))
        lines.append(f"- `{task.name}`: **{task.verdict}**{': ' + said if said else ''}.")
    return [*lines, ""]


def _headline(verdicts: Mapping[str, ShipVerdict], student: str) -> tuple[str, str]:
    by_decision = {
        decision: [name for name, verdict in verdicts.items() if verdict.decision == decision] for decision in DECISIONS
    }
    good, total, name = by_decision["ship"], len(verdicts), short(student)
    others = [
        f"{words}: {', '.join(by_decision[decision])}"
        for decision, words in DECISIONS.items()
        if decision != "ship" and by_decision[decision]
    ]
    match overall(verdicts):
        case "ship":
            if len(good) == total:
                return f"Ship {name}.", {1: "Its task passes.", 2: "Both tasks pass."}.get(total, f"All {total} pass.")
            return f"Ship {name} for {len(good)} of {total} tasks: {', '.join(good)}.", f"{'. '.join(others)}."
        case "too_little_data":
            return (
                f"Too little data to tell whether to ship {name}.",
                "That is no verdict on the model: hold out more groups of the classes named below.",
            )
        case _:
            return f"Do not ship {name}.", f"No task passes. {others[1]}." if len(others) > 1 else "No task passes."


def _task_screen(name: str, task: Mapping[str, Any], verdict: ShipVerdict, student: str, teacher: str) -> TaskScreen:
    own = task["methods"].get(student, {})
    why = [_sentence(words) for words in (verdict.reason, verdict.needed) if words]
    return TaskScreen(
        name=name,
        decision=verdict.decision,
        verdict=DECISIONS[verdict.decision],
        why=tuple(why),
        cautions=tuple(_sentence(words) for words in verdict.cautions),
        near_chance=verdict.near_chance,
        data=_data(task),
        base_rate=f"{100 * task['positive_share']:.1f} % positive",
        roc_auc=_estimate(own.get("roc_auc")),
        at_threshold=_at_threshold(at_thresholds(task, student, final=has_final(task, student))),
        against_baseline=_against_baseline(task, student),
        standings=(*_standings(task, student, verdict), replace(_standing(task, "teacher", TEACHER), name=teacher)),
    )


def _standings(task: Mapping[str, Any], student: str, verdict: ShipVerdict) -> list[Standing]:
    """Chance, the best free control, words alone, baseline, student: those that the task has."""
    free = [c for c in FREE_CONTROLS if task["methods"].get(c, {}).get("pr_auc", {}).get("mean") is not None]
    best = max(free, key=lambda c: float(task["methods"][c]["pr_auc"]["mean"]), default=None)
    rivals = {"free control": best, "words alone": WORD_CONTROL, "baseline": BASELINE}
    found = [Standing("chance", "base rate", number(task["positive_share"]))]
    for head, method in rivals.items():
        if method is not None and method != student and method in task["methods"]:
            found.append(_standing(task, head, method))
    pair = task["comparisons"].get(f"{student} - {BASELINE}", {}).get("pr_auc")
    mark = "" if pair is None else verdict_on(pair)
    found.append(_standing(task, "student", student, mark if mark in ("better", "worse") else "", verdict.near_chance))
    return found


def _standing(task: Mapping[str, Any], head: str, method: str, mark: str = "", red: bool = False) -> Standing:
    metric = task["methods"].get(method, {}).get("pr_auc")
    name = _NAMES.get(method, short(method))
    if metric is None:
        return Standing(head, name, "-")
    return Standing(head, name, number(metric["mean"]), bracket(metric["interval"]), mark, red)


def _data(task: Mapping[str, Any]) -> tuple[str, ...]:
    classes = task.get("classes")
    if not classes:
        return (f"{task['rows_tested']} rows", f"{task['groups_tested']} groups")
    return tuple(f"{counted['rows']} {kind} in {counted['groups']} groups" for kind, counted in classes.items())


def _at_threshold(own: Mapping[str, Any]) -> str:
    missed, flagged = (own.get(name, {}).get("mean") for name in ("miss_rate", "overkill"))
    if missed is None or flagged is None:
        return "-"
    return f"misses {missed:.0%} of positives, flags {flagged:.0%} of negatives"


def _against_baseline(task: Mapping[str, Any], student: str) -> str:
    """What the student adds to the baseline in PR-AUC; empty where it is the baseline or nothing was compared."""
    entry = task["comparisons"].get(f"{student} - {BASELINE}", {}).get("pr_auc")
    if entry is None or entry["difference"] is None:
        return ""
    return (
        f"{number(entry['difference'], signed=True)} {bracket(entry['interval'], signed=True)}, {verdict_words(entry)}"
    )


def _estimate(metric: Mapping[str, Any] | None) -> str:
    return "-" if metric is None else f"{number(metric['mean'])} {bracket(metric['interval'])}"


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}"
