"""The report as one self-contained HTML page: words, tables and figures; nothing is fetched.

report.json -> words and tables        (``training.report.words``, ``training.report.page_tables``)
run folder  -> curves -> figures       (``training.report.figure_data``, ``training.report.figures``)
both        -> the page                (``training.report.template``)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from contract.decision import TaskSpec
from training.data.manifest import Manifest, Row
from training.evaluation.comparisons import COMPARED, RIVAL
from training.evaluation.slices import MARGIN
from training.experiment.plan import EXPERIMENT_FILE, ExperimentPlan
from training.report import figures
from training.report.build import BASELINE, TEACHER
from training.report.figure_data import (
    HeldOut,
    learning_curves,
    pooled,
    precision_recall,
    read_held_out,
    reliability,
    teacher_confidences,
)
from training.report.figures import Style
from training.report.first_screen import first_screen
from training.report.markdown import groups_in_words
from training.report.page_tables import (
    comparison_table,
    metrics_table,
    number_of_tests,
    sections_of,
    slice_table,
    summary_table,
    threshold_slices,
)
from training.report.template import STYLE, TEMPLATE
from training.report.titles import full, metric_title, short
from training.report.words import bracket, gap_closed_words, number, overall, subject_of, task_verdict, verdict_on

Report = Mapping[str, Any]
CONFIDENCE_TITLES: Final = {
    "train": "training rows, teacher saw them",
    "cross_fitted": "training rows, teacher did not see them",
    "held_out": "held-out rows",
}
_PANELS = 4


@dataclass(frozen=True)
class Source:
    """What the figures are read from: the run folder, its plan, and the rows by id."""

    runs: Path
    plan: ExperimentPlan
    rows: Mapping[str, Row]


def render_page(report: Report, manifest: Manifest, runs: Path, *, written_on: date) -> str:
    """The page. The same report, folder and date give the same bytes.

    Args:
        report: what ``build_report`` made of ``runs``.
        manifest: the one the experiment was run on.
        runs: the experiment's folder.
        written_on: the date in the page's head.
    """
    plan = ExperimentPlan.model_validate_json((runs / EXPERIMENT_FILE).read_bytes())
    source = Source(runs, plan, {row.id: row for row in manifest.rows})
    subject = subject_of(report)
    verdicts = {name: task_verdict(task, subject, report["methods"]) for name, task in report["tasks"].items()}
    tasks = [
        _task_context(f"task{i}", manifest.task(name), report, source) | {"verdict": verdicts[name]}
        for i, (name, task) in enumerate(report["tasks"].items())
    ]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE).render(
        style=Markup(STYLE),
        report=report,
        facts=_facts(report, plan, written_on),
        screen=first_screen(report),
        overall=overall(report, verdicts),
        verdicts=verdicts,
        summary=summary_table(report),
        margin=MARGIN,
        adjusted=any(
            "adjusted_verdict" in e
            for t in report["tasks"].values()
            for p in t["comparisons"].values()
            for e in p.values()
        ),
        tests=number_of_tests(report),
        confidence=plan.config.distillation.confidence,
        tasks=tasks,
        learning=_learning(report, source),
    )


def _facts(report: Report, plan: ExperimentPlan, written_on: date) -> list[tuple[str, str]]:
    trials = [
        f"seed {t['seed']}" + ("" if t["test_fold"] is None else f" on fold {t['test_fold']}") for t in report["trials"]
    ]
    bootstrap, loss = report["bootstrap"], plan.config.distillation
    distillation = f"λ {loss.lam:g}, T {loss.temperature:g}, confidence {loss.confidence}, weighting {loss.weighting}"
    return [
        ("Page written", written_on.isoformat()),
        ("Model", report["model"]),
        ("Training", f"{plan.config.optimiser.epochs} epochs; {distillation}"),
        ("Configuration", report["config_digest"]),
        ("Manifest", f"{report['manifest']['name']}, {report['manifest']['rows']} rows"),
        ("Manifest digest", report["manifest"]["digest"]),
        ("Trials", f"{len(trials)}: {', '.join(trials)}"),
        ("Methods", ", ".join(report["methods"])),
        ("Intervals", f"{bootstrap['level']} %, bootstrap over groups, {bootstrap['replicates']} replicates"),
    ]


def highlighted(report: Report, task: Mapping[str, Any]) -> dict[str, Style]:
    """Method -> style of those that are drawn in colour: teacher, baseline, PFD, CPFD, and the best other student."""
    styles = {
        TEACHER: figures.TEACHER_STYLE,
        BASELINE: figures.BASELINE_STYLE,
        RIVAL: figures.RIVAL_STYLE,
        "cpfd": figures.SUBJECT_STYLE,
    }
    drawn = {method: style for method, style in styles.items() if method in task["methods"]}
    others = [m for m in sections_of(report)["students"] if m not in styles and m in task["methods"]]
    known = [m for m in others if task["methods"][m]["pr_auc"]["mean"] is not None]
    if known:
        best = max(known, key=lambda m: float(task["methods"][m]["pr_auc"]["mean"]))
        drawn[best] = figures.BEST_OTHER_STYLE
    return drawn


def _task_context(key: str, spec: TaskSpec, report: Report, source: Source) -> dict[str, Any]:
    task = report["tasks"][spec.name]
    styles = highlighted(report, task)
    held_out = read_held_out(source.runs, source.plan, spec, source.rows, task["methods"])
    drawings = [
        _precision_recall(key, spec.name, report, held_out, styles),
        _reliability(key, spec.name, task, held_out, styles),
        _confidence(key, spec, source),
        _gaps(key, spec.name, task, styles),
    ]
    return {
        "key": key,
        "name": spec.name,
        "task": task,
        "groups": groups_in_words(task),
        "figures": [drawing for drawing in drawings if drawing is not None],
        "undrawn": [short(m) for m in task["methods"] if m not in held_out],
        "legend": _legend(report, task, styles, held_out),
        "gap_words": gap_closed_words(task, styles),
        "all_gap_words": gap_closed_words(task, task["gap_closed"]),
        "metrics": metrics_table(report, task),
        "comparisons": comparison_table(task),
        "slices": slice_table(report, task, styles),
        "by_threshold": threshold_slices(task, subject_of(report) or BASELINE),
    }


def _legend(
    report: Report, task: Mapping[str, Any], styles: Mapping[str, Style], held_out: Mapping[str, Any]
) -> list[tuple[Markup, str]]:
    rivals = (TEACHER, BASELINE, RIVAL, "cpfd")
    entries = [
        (style, short(method) if method in rivals else f"{method} (best other, by its test PR-AUC)")
        for method, style in styles.items()
        if method in held_out
    ]
    others = [m for m in report["methods"] if m in held_out and m not in styles]
    controls = [m for m in task["methods"] if m in held_out and m not in report["methods"]]
    if others:
        entries.append((figures.OTHER_STYLE, f"other students ({len(others)})"))
    if controls:
        entries.append((figures.CONTROL_STYLE, f"controls: {', '.join(controls)}"))
    entries.append((figures.BASE_RATE_STYLE, f"base rate {task['positive_share']:.3f}"))
    return [(Markup(figures.swatch(style)), name) for style, name in entries]


def _drawing(title: str, svg: str, note: str) -> dict[str, Any]:
    """``svg`` is ours and has its own text escaped; everything else is escaped by the template."""
    return {"title": title, "svg": Markup(svg), "note": note}


def _precision_recall(
    key: str, name: str, report: Report, held_out: Mapping[str, Sequence[HeldOut]], styles: Mapping[str, Style]
) -> dict[str, Any] | None:
    task, curves = report["tasks"][name], []
    for method, trials in held_out.items():
        points = precision_recall(trials)
        if points is None:
            continue
        plain = figures.OTHER_STYLE if method in report["methods"] else figures.CONTROL_STYLE
        banded = len(trials) > 1 and method in (BASELINE, subject_of(report))
        curves.append(figures.Curve(method, points, styles.get(method, plain), banded))
    if not curves:
        return None
    values = [f"{short(m)} {number(task['methods'][m]['pr_auc']['mean'])}" for m in styles if m in held_out]
    label = f"Precision over recall on {name}. PR-AUC: {', '.join(values)}. Base rate {task['positive_share']:.3f}."
    svg = figures.precision_recall_figure(f"{key}-pr", curves, task["positive_share"], styles, label)
    note = "Mean over trials; the tint is the range over trials, of the baseline and of the student that is judged. "
    return _drawing("Precision over recall, held-out rows", svg, note + f"PR-AUC: {'; '.join(values)}.")


def _reliability(
    key: str, name: str, task: Mapping[str, Any], held_out: Mapping[str, Sequence[HeldOut]], styles: Mapping[str, Style]
) -> dict[str, Any] | None:
    chosen = [m for m in styles if m in held_out][:_PANELS]
    panels, values = [], []
    for method in chosen:
        after, before = pooled(held_out[method]), pooled(held_out[method], raw=True)
        if after is None or not len(after[0]):
            continue
        ece = task["methods"][method]["ece"]
        values.append(f"{short(method)} {number(ece['mean'])} {bracket(ece['interval'])}")
        panels.append((short(method), styles[method], reliability(*after), before and reliability(*before)))
    if not panels:
        return None
    label = f"Reliability on {name}: share of positives over mean score. ECE: {'; '.join(values)}."
    note = (
        "Rows of all trials together, bins of equal mass, 95 % Wilson bars that take rows as independent. Colour: as "
        f"served; hollow grey: before the temperature. ECE, mean over trials: {'; '.join(values)}."
    )
    return _drawing("Reliability", figures.reliability_figure(f"{key}-rel", panels, label), note)


def _confidence(key: str, spec: TaskSpec, source: Source) -> dict[str, Any] | None:
    series = teacher_confidences(source.runs, source.plan, spec, source.rows)
    if not series:
        return None
    counts = [f"{CONFIDENCE_TITLES[kind]}: {len(v)} values, mean {v.mean():.3f}" for kind, v in series.items()]
    svg = figures.confidence_figure(
        f"{key}-conf", series, CONFIDENCE_TITLES, f"Teacher's confidence on {spec.name}. {'; '.join(counts)}."
    )
    note = (
        f"c ({source.plan.config.distillation.confidence}) at the teacher's own temperature, all trials. "
        "A mean near 1 on training rows makes CPFD nearly PFD; where "
        "held-out rows lie far lower, it also tells what the teacher remembers."
    )
    return _drawing("What the teacher is sure of", svg, note)


def _gaps(key: str, name: str, task: Mapping[str, Any], styles: Mapping[str, Style]) -> dict[str, Any] | None:
    bars_by_title = {metric_title(metric): _bars(task, metric, styles) for metric in COMPARED}
    metrics = {f"{title} less the baseline's": bars for title, bars in bars_by_title.items() if bars}
    if not metrics:
        return None
    values = [
        f"{title}: {method} {number(bar.difference, signed=True)}, {bar.verdict}"
        for title, bars in metrics.items()
        for method, bar in bars.items()
    ]
    svg = figures.gap_figure(f"{key}-gap", metrics, f"Differences to the baseline on {name}. {'; '.join(values)}.")
    note = (
        "Bars of full colour with a dot: better or worse than the baseline. Pale with a tick: not distinguishable. The "
        "teacher's bar is the gap that distillation could close. Lines are 95 % intervals of paired differences."
    )
    return _drawing("What each method adds to the baseline", svg, note)


def _bars(task: Mapping[str, Any], metric: str, styles: Mapping[str, Style]) -> dict[str, figures.Bar]:
    """Method -> bar: the teacher first, then by how much they add."""
    ending, bars = f" - {BASELINE}", {}
    for pair, metrics in task["comparisons"].items():
        entry = metrics.get(metric)
        if not pair.endswith(ending) or entry is None or None in (entry["difference"], *entry["interval"]):
            continue
        method = pair.removesuffix(ending)
        style = styles.get(method, Style("#4b5563"))
        low, high = entry["interval"]
        bars[method] = figures.Bar(entry["difference"], low, high, verdict_on(entry), style)
    order = sorted(bars, key=lambda m: (m != TEACHER, -bars[m].difference))
    return {short(method): bars[method] for method in order}


def _learning(report: Report, source: Source) -> list[dict[str, Any]]:
    drawings = []
    known = {
        TEACHER: figures.TEACHER_STYLE,
        BASELINE: figures.BASELINE_STYLE,
        RIVAL: figures.RIVAL_STYLE,
        "cpfd": figures.SUBJECT_STYLE,
    }
    for i, (method, curves) in enumerate(learning_curves(source.runs, source.plan, report["methods"]).items()):
        last = sum(curve.losses[-1] for curve in curves) / len(curves)
        label = f"Training loss of {full(method)} by epoch, {len(curves)} trials; at the end {last:.3f} on average."
        style = known.get(method, Style("#4b5563"))
        drawings.append(_drawing(short(method), figures.learning_figure(f"learn{i}", curves, style, label), ""))
    return drawings
