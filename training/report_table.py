"""The report as Markdown: one table a task, then what the comparisons allow one to say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.report import TITLES

_COLUMNS = {"f1": "F1 at validation threshold", "pr_auc": "PR-AUC", "ece": "ECE", "brier": "Brier"}


def render(report: Mapping[str, Any]) -> str:
    """The Markdown of a report that ``build_report`` made."""
    trials = ", ".join(
        f"seed {t['seed']}" + ("" if t["test_fold"] is None else f" / fold {t['test_fold']}") for t in report["trials"]
    )
    lines = [
        f"Model `{report['model']}`; trials: {trials}. Values are means over trials; brackets hold the 95 %",
        f"interval of a bootstrap over groups ({report['bootstrap']['replicates']} replicates, paired by method).",
        "",
    ]
    for name, task in report["tasks"].items():
        lines += [*_task(name, task), ""]
    return "\n".join(lines).rstrip() + "\n"


def render_summary(report: Mapping[str, Any], metric: str = "f1") -> str:
    """One line a task: a metric of every method and control, and what CPFD did against the baseline and PFD."""
    methods = report["methods"]
    lines = ["| task | " + " | ".join([*methods, "control", "cpfd - ce", "cpfd - pfd"]) + " |"]
    lines.append("|---" * (4 + len(methods)) + "|")
    for name, task in report["tasks"].items():
        cells = [_cell(task["methods"][method][metric]) for method in methods]
        controls = [
            f"{control.removesuffix('_only')} {values[metric]['mean']:.3f}"
            for control, values in task["methods"].items()
            if control not in methods
        ]
        verdicts = [task["comparisons"][pair][metric]["verdict"] for pair in ("cpfd - ce", "cpfd - pfd")]
        lines.append("| " + " | ".join([name, *cells, ", ".join(controls) or "-", *verdicts]) + " |")
    return "\n".join(lines) + "\n"


def _task(name: str, task: Mapping[str, Any]) -> list[str]:
    lines = [
        f"### {name}",
        "",
        f"{task['rows_tested']} rows in {task['groups_tested']} groups tested, {100 * task['positive_share']:.1f} % of "
        f"them positive (flag: {', '.join(task['flags'])}).",
        "",
        "| method | " + " | ".join(_COLUMNS.values()) + " |",
        "|---" * (1 + len(_COLUMNS)) + "|",
    ]
    for method, summary in task["methods"].items():
        cells = [_cell(summary[metric]) for metric in _COLUMNS]
        lines.append(f"| {TITLES.get(method, method)} | " + " | ".join(cells) + " |")
    lines += ["", *_comparisons(task), *_paired(task), *_slices(task)]
    return lines


def _cell(value: Mapping[str, Any]) -> str:
    low, high = value["interval"]
    return f"{value['mean']:.3f} [{low:.3f}, {high:.3f}]"


def _comparisons(task: Mapping[str, Any]) -> list[str]:
    lines = []
    for pair, metrics in task["comparisons"].items():
        words = "; ".join(
            f"{_COLUMNS[m].split(' ')[0]} {v['difference']:+.3f} [{v['interval'][0]:+.3f}, {v['interval'][1]:+.3f}]: "
            f"{v['verdict']}"
            for m, v in metrics.items()
        )
        lines.append(f"- `{pair}`: {words}.")
    for method, metrics in task["gap_closed"].items():
        for metric, gap in metrics.items():
            if gap["share"] is None:
                lines.append(f"- gap closed by `{method}` ({metric}): undefined, {gap['why']}.")
            else:
                low, high = gap["interval"]
                share = f"{100 * gap['share']:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
                lines.append(f"- gap closed by `{method}` ({metric}): {share}.")
    return lines


def _paired(task: Mapping[str, Any]) -> list[str]:
    """How the methods do on requests that hold an unrelated row of the other modality too."""
    if not task["paired"]:
        return []
    cells = "; ".join(f"`{method}` {_cell(values['pr_auc'])}" for method, values in task["paired"].items())
    return [f"- PR-AUC where the request also holds an unrelated row of the other modality: {cells}."]


def _slices(task: Mapping[str, Any]) -> list[str]:
    if not task["slices"]:
        return []
    methods = list(task["methods"])
    lines = [
        "",
        "PR-AUC by slice:",
        "",
        "| slice | rows | " + " | ".join(methods) + " |",
        "|---" * (2 + len(methods)) + "|",
    ]
    for name, values in task["slices"].items():
        for value, entry in values.items():
            cells = [_cell(entry[m]["pr_auc"]) if m in entry else "-" for m in methods]
            lines.append(f"| {name} = {value} | {entry['rows']} | " + " | ".join(cells) + " |")
    return lines
