"""benchmark.md: the verdict first, then one summary table, then each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recipes.benchmark.provenance import UNRECORDED
from training.evaluation.comparisons import BASELINE, RIVAL
from training.report.markdown import LEGEND, cell, difference, gap, render_task, table, trials_in_words
from training.report.titles import TITLES


def render_benchmark(document: Mapping[str, Any]) -> str:
    """The Markdown of a document that ``build_benchmark`` made."""
    lines = [
        f"# Benchmark: {document['manifest']['name']}",
        "",
        render_headline(document),
        "Share of the gap between baseline and teacher that each method closes (F1). Undefined where the teacher is "
        "not distinguishably better than the baseline.",
        "",
        *_gaps(document),
        "",
        "Differences of the mean over tasks:",
        "",
        *_mean_differences(document),
        "",
        "## Tasks",
        "",
        LEGEND,
        "",
    ]
    for name, task in document["tasks"].items():
        lines += [*render_task(name, task), ""]
    lines += [*_made_with(document), *_reading(document)]
    return "\n".join(lines).rstrip() + "\n"


def render_headline(document: Mapping[str, Any], methods: Sequence[str] | None = None) -> str:
    """The verdict, the claims and the summary table: of all methods, or of those that a README has room for."""
    lines = [
        document["verdict"],
        "",
        *_claims(document),
        "F1 at the threshold fitted on validation rows, with the 95 % interval; mean over tasks; what Holm's "
        "adjustment leaves of the mean's differences from the baseline (`ce`) and from PFD.",
        "",
        *_summary(document, methods or document["methods"]),
    ]
    return "\n".join(lines) + "\n"


def _claims(document: Mapping[str, Any]) -> list[str]:
    if not document["claims"]:
        return []
    body = [
        [name, f"{100 * c['published']:.2f} %", _interval_percent(c), c["verdict"], c["why"]]
        for name, c in document["claims"].items()
    ]
    return [*table(["published claim (F1)", "published", "found", "verdict", "because"], body), ""]


def _interval_percent(claim: Mapping[str, Any]) -> str:
    if claim["found"] is None or not claim["interval"] or None in claim["interval"]:
        return "undefined"
    low, high = claim["interval"]
    return f"{100 * claim['found']:+.2f} % [{100 * low:+.2f}, {100 * high:+.2f}]"


def _summary(document: Mapping[str, Any], methods: Sequence[str]) -> list[str]:
    tasks, mean = document["tasks"], document["mean_over_tasks"]
    body = []
    for method in methods:
        against = [_word(mean, f"{method} - {other}") for other in (BASELINE, RIVAL)]
        cells = [cell(task["methods"][method]["f1"]) for task in tasks.values()]
        body.append([TITLES.get(method, f"`{method}`"), *cells, cell(mean["methods"][method]["f1"]), *against])
    controls = list(dict.fromkeys(c for task in tasks.values() for c in task["controls"]))
    for control in controls:
        cells = [cell(task["methods"].get(control, {}).get("f1")) for task in tasks.values()]
        body.append([TITLES.get(control, control), *cells, "-", "-", "-"])
    return table(["method", *tasks, "mean", "mean against `ce`", "mean against `pfd`"], body)


def _word(mean: Mapping[str, Any], pair: str) -> str:
    comparison = mean["comparisons"].get(pair)
    return "-" if comparison is None else str(comparison["f1"]["adjusted_verdict"])


def _gaps(document: Mapping[str, Any]) -> list[str]:
    tasks, mean = document["tasks"], document["mean_over_tasks"]
    body = [
        [f"`{m}`", *(gap(t["gap_closed"][m]["f1"]) for t in tasks.values()), gap(gaps_of_mean["f1"])]
        for m, gaps_of_mean in mean["gap_closed"].items()
    ]
    return table(["method", *tasks, "mean"], body)


def _mean_differences(document: Mapping[str, Any]) -> list[str]:
    comparisons_of_means = document["mean_over_tasks"]["comparisons"]
    body = [
        [entry["f1"]["family"], f"`{pair}`", difference(entry["f1"]), difference(entry["pr_auc"])]
        for pair, entry in comparisons_of_means.items()
    ]
    return table(["family", "difference", "F1", "PR-AUC"], body)


def _made_with(document: Mapping[str, Any]) -> list[str]:
    made = document["provenance"]
    wall = made["wall_seconds"] / 60
    trained = ", ".join(made["trained_by"]) or UNRECORDED
    return [
        "## Made with",
        "",
        f"- {made['date']}, written by code {made['git_revision'] or 'outside a checkout'}, size `{document['size']}`, "
        f"wall time {wall:.1f} min. Trained by code: {trained}.",
        f"- {made['cpu']}, {made['cores']} cores; torch {made['torch']}, Python {made['python']}.",
        f"- Model `{document['model']}`, config digest `{document['config_digest'][:16]}`; manifest digest "
        f"`{document['manifest']['digest'][:16]}`, {document['manifest']['rows']} rows.",
        f"- Trials: {trials_in_words(document)}.",
        "",
    ]


def _reading(document: Mapping[str, Any]) -> list[str]:
    bootstrap = document["bootstrap"]
    return [
        "## How to read it",
        "",
        f"- Intervals: {bootstrap['replicates']} bootstrap replicates, each drawing groups of rows (source videos, "
        "backgrounds, channels) and, where a fold was tested with several seeds, seeds. With one seed a fold the "
        "intervals hold no spread of seeds.",
        "- Tasks draw independently. Tasks that share rows or parts of rows (a composite task and its parts) are not "
        "independent, and the interval of the mean is then somewhat too narrow.",
        "- better, worse: Holm-adjusted p below 0.05 in the family of comparisons (one task or the mean, one metric, "
        "one reference). A star: the plain interval leaves 0 out, the adjustment does not.",
        "- A composite task joins real parts under a composed label: no source holds clip, title and label together.",
        "- A method that does not beat the controls of its task has not shown that it looks at what the task is about.",
    ]
