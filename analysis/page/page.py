"""The report's document -> the page. Every number on it stands in ``report.json``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from scipy.stats import binom

from analysis.findings.metrics import LOWER_IS_BETTER, TITLES
from analysis.findings.preconditions import primary_of
from analysis.findings.quality import deciding
from analysis.page.figures import Day, Span, days_figure, shares_figure, spans_figure
from analysis.page.template import STYLE, TEMPLATE
from analysis.page.words import (
    guardrail_rows,
    label_sentence,
    metric_rows,
    novelty_sentence,
    paired_rows,
    paired_sentence,
    task_sentence,
)
from analysis.question import Question

Report = Mapping[str, Any]
Drawing = dict[str, Any]


def render_page(report: Report, *, written_on: date) -> str:
    """The page. The same report and date give the same bytes."""
    question = Question.model_validate(report["question"])
    broken = "tasks" not in report
    arms = (report["control"], report["treatment"])
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE).render(
        style=Markup(STYLE),
        report=report,
        broken=broken,
        written_on=written_on.isoformat(),
        window=_window(report),
        task_sentences=[] if broken else [
            task_sentence(name, task, question.primary, question.margin) for name, task in report["tasks"].items()
        ],
        figures=[_shares(report)] if broken else _overview(report, question),
        guardrails=None if broken else guardrail_rows(report["guardrails"]),
        codes="" if broken else "; ".join(
            f"{code} {counts[0]:,}, {counts[1]:,}"
            for code, counts in report["guardrails"]["error_rate"]["codes"].items()
        ),
        tasks=[] if broken else [
            _task(f"task{k}", name, task, question, arms) for k, (name, task) in enumerate(report["tasks"].items())
        ],
        level=f"{100 * (1 - question.alpha):g}",
        metric=TITLES[question.primary],
        margin=f"{question.margin:g}",
        sources=", ".join(f"{name} ({count:,})" for name, count in report["label_sources"].items()) or "none",
        left_out=_left_out(report),
        crossed=_crossed(report),
    )  # fmt: skip


def _window(report: Report) -> str:
    first, last = (
        datetime.fromtimestamp(report["window"][key] / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        for key in ("first_exposure_ms", "last_exposure_ms")
    )
    return f"{report['assignment']['units']:,} units, {first} to {last} UTC"


def _left_out(report: Report) -> str:
    excluded, repeated = report["assignment"]["excluded_exposures"], report["repeated_rows_dropped"]
    return (
        f"{excluded['forced']:,} exposures with a forced arm, {excluded['holdout']:,} of held-out units; "
        f"{sum(repeated.values()):,} rows that stood twice in the log"
    )


def _crossed(report: Report) -> str:
    crossed = report["assignment"]["crossed"]
    named = ", ".join(f"{unit[:12]}…" for unit in crossed["first"])
    return f"{crossed['units']:,} ({named}; whole hashes of the first ones in report.json)" if crossed["units"] else ""


def _overview(report: Report, question: Question) -> list[Drawing]:
    spans = []
    for name, task in report["tasks"].items():
        for evidence, title in (("split", "by arm"), ("paired", "pairs")):
            metric = primary_of(task, question.model_copy(update={"evidence": evidence}))
            if metric is None or deciding(metric)["difference"] is None:
                continue
            decides = evidence == question.evidence
            verdict = task["verdict"]["verdict"] if decides else ""
            entry = deciding(metric)
            title = f"{name}, {title}{'' if decides else ' (beside)'}"
            spans.append(Span(title, entry["difference"], entry["always_valid_interval"], entry["interval"], verdict))
    drawings = []
    if spans:
        drawings.append(_primary_spans("overview", spans, question, "What the treatment changes"))
    ratios = [
        Span(title, entry["ratio"], entry["always_valid_interval"], (None, None), _of_status(entry["status"]))
        for key, title in (("p50_ms", "p50"), ("p99_ms", "p99"), ("cost_per_1000", "cost"))
        if (entry := report["guardrails"][key])["ratio"] is not None
    ]
    if ratios:
        limit = min(question.max_p50_ratio, question.max_p99_ratio, question.max_cost_ratio)
        said = "; ".join(f"{span.title} {span.value:.3g}" for span in ratios)
        svg = spans_figure("guardrails", ratios, "treatment / control", f"Guardrails: {said}.", limit=limit, centre=1)
        drawings.append(_drawing("Latency and cost", svg, "Lines are always valid. Dashed: the strictest limit."))
    return drawings


def _of_status(status: str) -> str:
    return {"held": "better", "breached": "worse"}.get(status, "")


def _primary_spans(key: str, spans: list[Span], question: Question, title: str) -> Drawing:
    metric = TITLES[question.primary]
    said = "; ".join(f"{span.title} {span.value:+.3f}" for span in spans)
    svg = spans_figure(
        key, spans, f"{metric}: treatment - control", f"{title}: {metric}: {said}.", limit=_limit(question)
    )
    note = "Thin: always valid; thick: one look. ▲ better, ▼ worse, ● neither, or not what decides. Dashed: the margin."
    return _drawing(f"{title}: {metric}", svg, note)


def _limit(question: Question) -> float:
    return question.margin if question.primary in LOWER_IS_BETTER else -question.margin


def _task(key: str, name: str, task: Report, question: Question, arms: tuple[str, str]) -> dict[str, Any]:
    paired, quality = task["paired"], task["quality"]
    primary = quality["metrics"].get(question.primary, {})
    lost = task["verdicts_unsupported"]
    return {
        "key": key,
        "name": name,
        "sentence": task_sentence(name, task, question.primary, question.margin),
        "flag_labels": ", ".join(task["flag_labels"])
        + (" (read off the scores)" if task["flag_labels_inferred"] else ""),
        "labels": label_sentence(task["labels"], arms),
        "unsupported": f"Not judged, as the request lacked what the task reads: {lost[0]:,} and {lost[1]:,} verdicts."
        if any(lost) else "",
        "rows": metric_rows(quality, question.primary),
        "cuped": _cuped(quality, primary, question),
        "figures": [drawing for drawing in (_days(key, task, question), _slices(key, task, question)) if drawing],
        "paired": paired and paired_sentence(paired),
        "paired_rows": paired_rows(paired, question.primary) if paired else [],
    }  # fmt: skip


def _cuped(quality: Report, primary: Report, question: Question) -> str:
    if "cuped" not in primary:
        return ""
    share = primary["cuped"]["variance_share"]
    decides = ", and is what decides" if question.evidence == "split" else ""
    return (
        f"{quality['units_with_a_past']:.0%} of the units have verdicts from before the experiment. The difference "
        f"freed of what these explain has {share:.1%} of the variance{decides}."
    )


def _days(key: str, task: Report, question: Question) -> Drawing | None:
    days = [
        Day(d["day"], d["difference"], d["interval"], d["so_far"], d["always_valid_interval"])
        for d in task["novelty"]["by_day"]
    ]
    if not days:
        return None
    metric = TITLES[question.primary]
    last = days[-1].so_far
    label = f"{metric}, treatment less control, by day; so far {'undefined' if last is None else f'{last:+.3f}'}."
    svg = days_figure(f"{key}-days", days, f"{metric}: treatment - control", label, limit=_limit(question))
    note = "Grey: each day by itself, one look. Coloured: all days so far, always valid. Dashed: the margin. "
    return _drawing("By day", svg, note + novelty_sentence(task["novelty"]))


def _slices(key: str, task: Report, question: Question) -> Drawing | None:
    spans = []
    for entry in task["slices"][:12]:
        if entry["difference"] is None:
            continue
        gain = -entry["difference"] if question.primary in LOWER_IS_BETTER else entry["difference"]
        verdict = "" if entry["holm_p"] >= question.alpha else ("better" if gain > 0 else "worse")
        spans.append(
            Span(entry["slice"], entry["difference"], entry["always_valid_interval"], entry["interval"], verdict)
        )
    return _primary_spans(f"{key}-slices", spans, question, "By slice") if spans else None


def _shares(report: Report) -> Drawing:
    """The treatment's share of new units by day beside what chance allows."""
    arm = report["assignment"]["arms"][report["treatment"]]
    planned, days = arm["planned_share"], []
    for day in report["assignment"]["by_day"]:
        total = sum(day["units"].values())
        low, high = binom.ppf([0.0005, 0.9995], total, planned) / total
        days.append((day["day"], day["units"][report["treatment"]] / total, float(low), float(high)))
    label = f"Share of new units in {report['treatment']} by day: " + ", ".join(f"{d[0]} {d[1]:.3f}" for d in days)
    svg = shares_figure("shares", days, planned, label)
    return _drawing(f"New units in {report['treatment']}, by day", svg, "Tint: where 99.9 % of days lie by chance.")


def _drawing(title: str, svg: str, note: str) -> Drawing:
    """``svg`` is ours and has its own text escaped; everything else is escaped by the template."""
    return {"title": title, "svg": Markup(svg), "note": note}
