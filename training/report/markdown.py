"""The report as Markdown: one table a task, then its comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from training.distillation.registry import METHODS
from training.evaluation.comparisons import BASELINE, RIVAL, SUBJECT, TAMPERED, TEACHER
from training.report.first_screen import first_screen, markdown_lines
from training.report.titles import TITLES
from training.report.words import verdict_on, withheld_words

COLUMNS = {
    "f1": "F1 at validation threshold",
    "pr_auc": "PR-AUC",
    "roc_auc": "ROC-AUC",
    "recall_at_p80": "R@P80 (precision reached)",
    "recall_at_p90": "R@P90 (precision reached)",
    "miss_rate": "miss rate",
    "overkill": "overkill",
    "vv_leakage": "VV leakage",
    "ece": "ECE",
    "brier": "Brier",
}
"""Metric -> heading; one that no method of a task has is left out of its table."""
LEGEND = (
    "F1, miss rate (positives not flagged), overkill (negatives flagged) and VV leakage (share of the views of "
    "positives that are not flagged) are at the threshold fitted on validation rows. R@P80 is recall on test rows at "
    "the threshold of the highest recall whose precision on *validation* rows is at least 0.8; the precision it had on "
    "test rows stands behind it. ECE's interval is without the gaps that drawing groups opens by itself."
)
_SHORT = {"f1": "F1", "pr_auc": "PR-AUC"}


def render(report: Mapping[str, Any]) -> str:
    """The Markdown of a report that ``build_report`` made."""
    lines = [
        *markdown_lines(first_screen(report)),
        f"Model `{report['model']}`; trials: {trials_in_words(report)}. Values are means over trials; brackets hold",
        f"the 95 % interval of a bootstrap over groups and over seeds of a fold ({report['bootstrap']['replicates']} "
        "replicates, paired by method).",
        LEGEND,
        "",
    ]
    for name, task in report["tasks"].items():
        lines += [*render_task(name, task), ""]
    return "\n".join(lines).rstrip() + "\n"


def render_summary(report: Mapping[str, Any], metric: str = "f1") -> str:
    """One line a task: a metric of every method and control; CPFD against baseline and PFD, other students against it.

    The verdicts hold for their family of comparisons, as those of ``render_task``.
    """
    methods = report["methods"]
    rivals = [m for m in methods if m not in (TEACHER, BASELINE, RIVAL, SUBJECT, *TAMPERED)]
    against = [other for other in (BASELINE, RIVAL) if other in methods]
    pairs = [*(f"{SUBJECT} - {other}" for other in against), *(f"{rival} - {SUBJECT}" for rival in rivals)]
    body = []
    for name, task in report["tasks"].items():
        cells = [cell(task["methods"][method][metric]) for method in methods]
        controls = [
            f"{short_control(control)} {values[metric]['mean']:.3f}"
            for control, values in task["methods"].items()
            if control not in methods
        ]
        verdicts = [_adjusted(task["comparisons"][pair][metric]) for pair in pairs]
        body.append([name, *cells, ", ".join(controls) or "-", *verdicts])
    return "\n".join(table(["task", *methods, "control", *pairs], body)) + "\n"


def short_control(name: str) -> str:
    """``container_only`` -> ``container``, ``tfidf_logistic`` -> ``tfidf``."""
    return name.removesuffix("_only").removesuffix("_logistic")


def groups_in_words(task: Mapping[str, Any]) -> str:
    """How many groups a task's tested rows stand in, those of composed rows' titles told apart."""
    titles = task.get("title_groups_tested")
    return f"{task['groups_tested']} groups" + (f" (of clips; titles of {titles} groups)" if titles else "")


def _positive_groups(task: Mapping[str, Any]) -> str:
    """In how many groups each fold's positives stand: where they are few, what is learned of recall is of those few."""
    folds = task.get("positive_groups")
    return "" if not folds else f" Their groups, fold by fold: {', '.join(map(str, folds))}."


def render_task(name: str, task: Mapping[str, Any]) -> list[str]:
    """One task: its table, its comparisons, its slices."""
    lines = [
        f"### {name}",
        "",
        f"{task['rows_tested']} rows in {groups_in_words(task)} tested, {100 * task['positive_share']:.1f} % of "
        f"them positive (flag: {', '.join(task['flags'])}).{_positive_groups(task)}",
        "",
    ]
    columns = {m: title for m, title in COLUMNS.items() if any(m in s for s in task["methods"].values())}
    body = [
        [TITLES.get(method, f"`{method}`"), *(_metric_cell(values, metric) for metric in columns)]
        for method, values in task["methods"].items()
    ]
    lines += table(["method", *columns.values()], body)
    return [*lines, "", *comparisons(task), *_paired(task), *_slices(task)]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def cell(value: Mapping[str, Any] | None) -> str:
    """An estimate with its interval; a dash where there is none."""
    if value is None or value["mean"] is None or None in value["interval"]:
        return "-"
    low, high = value["interval"]
    return f"{value['mean']:.3f} [{low:.3f}, {high:.3f}]"


def trials_in_words(report: Mapping[str, Any]) -> str:
    """``seed 0 / fold 0, seed 1 / fold 1``."""
    return ", ".join(
        f"seed {t['seed']}" + ("" if t["test_fold"] is None else f" / fold {t['test_fold']}") for t in report["trials"]
    )


def comparisons(task: Mapping[str, Any]) -> list[str]:
    """A table of differences, and one of the share of the gap that each method closes."""
    body = []
    for pair, metrics in task["comparisons"].items():
        shown = [difference(metrics[m]) for m in _SHORT]
        body.append([f"`{pair}`", *shown])
    if not body:
        return []
    lines = [
        "Differences, with the 95 % interval and a verdict that holds for the whole family of comparisons (Holm). A "
        "star marks an interval without 0 whose verdict does not survive the adjustment.",
        "",
        *table(["difference", *_SHORT.values()], body),
    ]
    if why := withheld_words(task):
        lines += ["", f"- {why}"]
    return [*lines, "", *gaps(task["gap_closed"]), ""]


def difference(value: Mapping[str, Any]) -> str:
    """A difference, its interval and its adjusted verdict; reports from before the adjustment have the plain one."""
    if value["difference"] is None or None in value["interval"]:
        return "-"
    low, high = value["interval"]
    return f"{value['difference']:+.3f} [{low:+.3f}, {high:+.3f}] {_adjusted(value)}"


def _adjusted(value: Mapping[str, Any]) -> str:
    adjusted = verdict_on(value)
    return adjusted + ("*" if adjusted != value["verdict"] else "")


def gaps(gap_closed: Mapping[str, Any]) -> list[str]:
    """Sentences on the share of the gap between baseline and teacher that each method closes."""
    lines = []
    for metric, title in _SHORT.items():
        shares = {method: metrics[metric] for method, metrics in gap_closed.items()}
        defined = [f"`{m}` {gap(v)}" for m, v in shares.items() if v["share"] is not None]
        why = next((v["why"] for v in shares.values() if v["share"] is None), None)
        if shares:
            lines.append(
                f"- Gap closed ({title}): " + (f"undefined, {why}." if not defined else "; ".join(defined) + ".")
            )
    return lines


def gap(value: Mapping[str, Any]) -> str:
    """A share of the gap in per cent, with its interval."""
    if value["share"] is None:
        return "undefined"
    low, high = value["interval"]
    return f"{100 * value['share']:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _metric_cell(summary: Mapping[str, Any], metric: str) -> str:
    text = cell(summary.get(metric))
    reached = summary.get(metric.replace("recall", "precision"))
    if metric.startswith("recall_at") and text != "-":
        shown = "nothing flagged" if not reached or reached["mean"] is None else f"{reached['mean']:.2f}"
        return f"{text} ({shown})"
    return text


def _paired(task: Mapping[str, Any]) -> list[str]:
    """How the methods do on requests that hold an unrelated row of the other modality too."""
    if not task["paired"]:
        return []
    shown = set(_shown(task["paired"]))
    cells = "; ".join(f"`{m}` {cell(values['pr_auc'])}" for m, values in task["paired"].items() if m in shown)
    return [f"- PR-AUC where the request also holds an unrelated row of the other modality: {cells}."]


def _shown(methods: Iterable[str]) -> list[str]:
    """The methods that the narrower tables show: teacher, baseline, main students, controls; the JSON has all."""
    return [m for m in methods if m in (TEACHER, BASELINE, RIVAL, SUBJECT) or m not in METHODS]


def _slices(task: Mapping[str, Any]) -> list[str]:
    if not task["slices"]:
        return []
    methods = _shown(task["methods"])
    body = [
        [f"{name} = {value}", str(entry["rows"]), *(cell(entry[m]["pr_auc"]) if m in entry else "-" for m in methods)]
        for name, values in task["slices"].items()
        for value, entry in values.items()
    ]
    lines = ["", "PR-AUC by slice:", "", *table(["slice", "rows", *methods], body)]
    found = [
        f"- `{method}`, {name} = {value}: {warning}."
        for method, by_slice in task.get("threshold_by_slice", {}).items()
        if method in methods
        for name, values in by_slice.items()
        for value, entry in values.items()
        for warning in entry["warnings"]
    ]
    return [*lines, *(["", "The threshold treats these slices worse:", "", *found] if found else [])]
