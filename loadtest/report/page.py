"""One self-contained HTML page: verdict, curves, arms, stages, and how the generator fared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from loadtest.measurement.figures import Figures
from loadtest.report.curves import curves
from loadtest.verdict.checks import number
from loadtest.verdict.judge import ExitCode
from loadtest.verdict.results import Results

_STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:#1f2937;background:#f8fafc;margin:0}
main{max-width:1180px;margin:0 auto;padding:28px 24px 60px}h1{font-size:24px;margin:0 0 4px}
h2{font-size:18px;margin:36px 0 10px}p{margin:6px 0}.about{color:#6b7280;font-size:13px}
.verdict{border-radius:10px;padding:14px 18px;margin:18px 0;border:1px solid;border-left-width:6px;background:#fff}
.passed{border-color:#16a34a}.failed{border-color:#dc2626}.inconclusive{border-color:#d97706}
.verdict strong{font-size:18px}.verdict ul{margin:6px 0 0;padding-left:20px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(430px,1fr));gap:16px}
figure{margin:0;background:#fff;border:1px solid #e5e7eb;border-radius:10px;padding:12px 14px}
figcaption{font-weight:600;margin-bottom:4px}svg{width:100%;height:auto;display:block}
svg text{font-size:12px;fill:#4b5563}text.y{text-anchor:end}text.x,text.label{text-anchor:middle}
polyline{fill:none;stroke-width:2;stroke-linejoin:round}.grid{stroke:#e5e7eb}.tick,.axis{stroke:#9ca3af}
.band{fill:#dbeafe;opacity:.45}.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px;color:#374151}
.legend i{display:inline-block;width:20px;border-top:2px;vertical-align:middle;margin-right:6px}
.legend b{display:inline-block;width:14px;height:12px;background:#dbeafe;vertical-align:-1px;margin-right:6px}
.scroll{overflow-x:auto;background:#fff;border:1px solid #e5e7eb;border-radius:10px}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:6px 9px;text-align:right;border-bottom:1px solid #eef2f7;white-space:nowrap}
tr:last-child td{border-bottom:0}th{color:#6b7280;font-weight:600;background:#f9fafb}
td:first-child,th:first-child,td.words,th.words{text-align:left}td.words{white-space:normal}
tr.unjudged td{color:#6b7280}.bad{color:#b91c1c;font-weight:600}.good{color:#15803d;font-weight:600}
.empty{color:#6b7280;padding:40px 0;text-align:center}
"""
_FIGURE_HEADS = (
    "requests",
    "answered",
    "refused",
    "shed",
    "failed",
    "left",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "errors",
    "shed",
    "goodput",
)
_HEADLINES = {
    ExitCode.PASSED: "The objectives hold",
    ExitCode.FAILED: "The objectives do not hold",
    ExitCode.INCONCLUSIVE: "Inconclusive: the generator, not the service, may have been the limit",
}


def render(results: Results) -> str:
    """The page. It loads nothing: styles and curves are inside."""
    sections = [
        f"<h1>Load test: {escape(results.plan.shape)}</h1>",
        f"<p class=about>{' · '.join(f'{escape(k)}: {escape(v)}' for k, v in results.about.items())}</p>",
        _verdict(results),
        f"<div class=charts>{''.join(curves(results))}</div>",
        "<h2>Objectives, over the judged stages together</h2>",
        _checks(results),
        "<h2>Arms, over the judged stages together</h2>",
        _table(
            ("arm", *_FIGURE_HEADS),
            [("all requests", *_figures(results.overall)), *((a, *_figures(f)) for a, f in results.arms.items())],
        ),
        "<p class=about>Latency is that of verdicts, from when the request was due. Requests that no arm answered are "
        "in none. “Left” are clients that hung up on purpose; they are in no rate.</p>",
        "<h2>Kinds of request, over the judged stages together</h2>",
        _table(("kind", *_FIGURE_HEADS), [(kind, *_figures(found)) for kind, found in results.kinds.items()]),
        "<h2>Stages</h2>",
        _stages(results),
        "<h2>The generator</h2>",
        _generator(results),
        "<h2>What was not a verdict</h2>",
        _codes(results),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Load test: {escape(results.plan.shape)}: {results.verdict.exit_code.name.lower()}</title>"
        f"<style>{_STYLE}</style></head><body><main>{''.join(sections)}</main></body></html>\n"
    )


def _verdict(results: Results) -> str:
    verdict = results.verdict
    lines = [escape(check.sentence()) for check in verdict.checks if not check.passed]
    lines += [f"the generator was at its limit: {escape(reason)}" for reason in verdict.generator_reasons]
    if lines and verdict.generator_reasons and verdict.exit_code is ExitCode.FAILED:
        lines.append("the objectives do not hold even after all that the generator may have added is taken off")
    headline = _HEADLINES[verdict.exit_code]
    if verdict.exit_code is ExitCode.INCONCLUSIVE and not verdict.generator_reasons:
        headline = "Inconclusive: whether the capacity is enough is not decided"
    items = f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>" if lines else ""
    return (
        f'<div class="verdict {verdict.exit_code.name.lower()}"><strong>{headline}</strong>'
        f"<p>{escape(verdict.capacity.sentence())}</p>{items}</div>"
    )


def _checks(results: Results) -> str:
    rows = [
        (
            check.scope,
            check.name,
            number(check.measured),
            check.bound,
            "<span class=good>holds</span>" if check.passed else "<span class=bad>does not hold</span>",
        )
        for check in results.verdict.checks
    ]
    return _table(("requests", "objective", "measured", "asked", ""), rows, words=(1,), trusted=(4,))


def _stages(results: Results) -> str:
    rows = []
    for stage in results.stages:
        share = "" if stage.stage.arm_share is None else f", {stage.stage.arm_share:.0%} {results.plan.arm}"
        name = f"{number(stage.stage.per_s)}/s for {stage.stage.seconds:g} s{share}"
        rows.append((name, *_figures(stage.overall), stage.queue.state.value))
    return _table(("stage", *_FIGURE_HEADS, "queue"), rows, dim=[not stage.judged for stage in results.stages])


def _generator(results: Results) -> str:
    rows = [
        (
            f"{number(stage.stage.per_s)}/s",
            f"{stage.offered_per_s:.3g}",
            number(stage.generator.lag_p95_ms),
            number(stage.generator.late_p99_ms),
            f"{stage.generator.cpu_share:.0%}",
            str(stage.generator.max_in_flight),
            str(stage.generator.unsent),
            "; ".join(stage.generator.reasons) or "no",
        )
        for stage in results.stages
    ]
    heads = (
        "planned",
        "sent /s",
        "lag p95 ms",
        "late p99 ms",
        "CPU",
        "most in flight",
        "not sent",
        "was it the limit?",
    )
    return _table(heads, rows, words=(7,), dim=[not stage.judged for stage in results.stages])


def _codes(results: Results) -> str:
    totals: dict[str, int] = {}
    for stage in results.stages:
        for code, count in stage.overall.codes.items():
            totals[code] = totals.get(code, 0) + count
    if not totals:
        return "<p>Every request was answered with a verdict.</p>"
    retried = sum(stage.overall.retried for stage in results.stages)
    note = f"<p class=about>{retried} requests went to another host because the first could not take them.</p>"
    rows = [(code, str(count)) for code, count in sorted(totals.items(), key=lambda item: -item[1])]
    return _table(("code, all stages", "requests"), rows) + (note if retried else "")


def _figures(found: Figures) -> tuple[str, ...]:
    counts = (found.requests, found.answered, found.refused, found.shed, found.failed, found.gone)
    times = (found.p50_ms, found.p95_ms, found.p99_ms)
    shares = (found.error_rate, found.shed_rate, found.goodput_share)
    return (*map(str, counts), *map(number, times), *(f"{share:.1%}" if found.requests else "-" for share in shares))


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    words: Sequence[int] = (),
    trusted: Sequence[int] = (),
    dim: Sequence[bool] = (),
) -> str:
    """A table; ``words`` are columns of prose, ``trusted`` ones hold HTML of ours, ``dim`` rows are set back."""
    marked = [" class=words" if index in words else "" for index in range(len(heads))]
    head = "".join(f"<th{mark}>{escape(text)}</th>" for mark, text in zip(marked, heads, strict=True))
    body = []
    for index_of_row, row in enumerate(rows):
        cells = "".join(
            f"<td{mark}>{text if index in trusted else escape(text)}</td>"
            for index, (mark, text) in enumerate(zip(marked, row, strict=True))
        )
        body.append(f"<tr{' class=unjudged' if index_of_row < len(dim) and dim[index_of_row] else ''}>{cells}</tr>")
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
