"""The curves of a report: against load where the plan climbs, and always over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from loadtest.measurement.figures import Figures, StageSummary
from loadtest.measurement.queue import mean_in_flight
from loadtest.measurement.samples import Outcome, Sample, percentile
from loadtest.report.charts import Band, Line, chart
from loadtest.verdict.results import Results

BLUE, ORANGE, RED, GREEN, GREY, PURPLE = "#2563eb", "#d97706", "#dc2626", "#16a34a", "#6b7280", "#7c3aed"
ARM_COLOURS = (PURPLE, GREEN, ORANGE, BLUE, RED)
_WINDOWS = 60


def curves(results: Results) -> list[str]:
    """The figures, as HTML, in reading order."""
    climbing = len({stage.per_s for stage in results.plan.stages}) > 2
    return [*(_against_load(results) if climbing else []), *_over_time(results)]


def _against_load(results: Results) -> list[str]:
    stages = sorted(results.stages, key=_came_per_s)
    x_high = 1.05 * max(_came_per_s(stages[-1]), 1e-3)
    judged = max(_came_per_s(stage) for stage in stages if stage.judged)
    bands = [Band(0, min(x_high, judged + 0.02 * x_high), "judged")]

    def line(name: str, colour: str, of: Callable[[Figures], float], arm: str | None = None) -> Line:
        found = [(_came_per_s(s), s.overall if arm is None else s.arms.get(arm)) for s in stages]
        return Line(name, [(x, of(f) if f else math.nan) for x, f in found], colour)

    latency = [
        line("p50", BLUE, lambda f: f.p50_ms),
        line("p95", ORANGE, lambda f: f.p95_ms),
        line("p99", RED, lambda f: f.p99_ms),
    ]
    if results.objectives.limits.p95_ms is not None:
        limit = results.objectives.limits.p95_ms
        latency.append(Line("limit of p95", [(0, limit), (x_high, limit)], GREY, dashed=True))
    within = f"{results.objectives.within_ms:g} ms"
    goodput = [
        line(f"good within {within}", GREEN, lambda f: f.goodput_per_s),
        Line("all that was offered", [(0, 0), (x_high, x_high)], GREY, dashed=True),
    ]
    losses = [
        line("shed", ORANGE, lambda f: 100 * f.shed_rate),
        line("failed", RED, lambda f: 100 * f.error_rate),
        line(f"later than {within}", PURPLE, lambda f: 100 * _late_share(f)),
    ]
    arms = [
        made
        for arm, colour in zip(sorted(results.arms), ARM_COLOURS, strict=False)
        for made in (line(f"{arm} p95", colour, lambda f: f.p95_ms, arm),)
    ]
    x = "offered load, requests/s"
    return [
        chart("Latency against load", x, "ms, log scale", latency, logarithmic=True, bands=bands, x_high=x_high),
        chart("Goodput at the objective", x, "requests/s", goodput, bands=bands, x_high=x_high),
        chart("What was not good", x, "% of requests", losses, bands=bands, x_high=x_high),
        chart("Arms beside each other", x, "ms, log scale", arms, logarithmic=True, bands=bands, x_high=x_high),
    ]


def _came_per_s(stage: StageSummary) -> float:
    """The rate that there was, without those who left: a Poisson process is not exactly its mean."""
    return stage.overall.requests / stage.stage.seconds


def _late_share(found: Figures) -> float:
    return max(0.0, 1 - found.goodput_share - found.shed_rate - found.error_rate) if found.requests else math.nan


def _over_time(results: Results) -> list[str]:
    total_s = results.plan.total_s
    width_s = max(1.0, total_s / _WINDOWS)
    windows: list[list[Sample]] = [[] for _ in range(math.ceil(total_s / width_s))]
    for sample in results.samples:
        windows[min(len(windows) - 1, int(sample.at_s / width_s))].append(sample)
    middles = [(index + 0.5) * width_s for index in range(len(windows))]

    def rate(name: str, colour: str, *outcomes: Outcome) -> Line:
        counts = [sum(s.outcome in outcomes for s in window) / width_s for window in windows]
        return Line(name, list(zip(middles, counts, strict=True)), colour)

    def quantile(name: str, colour: str, share: float) -> Line:
        return Line(name, [(x, _latency_ms(window, share)) for x, window in zip(middles, windows, strict=True)], colour)

    planned = [
        point
        for begin, stage in zip(results.plan.starts(), results.plan.stages, strict=True)
        for point in ((begin, stage.per_s), (begin + stage.seconds, stage.per_s))
    ]
    bands = [Band(s.begins_s, s.begins_s + s.stage.seconds, "judged") for s in results.stages if s.judged]
    rates = [
        Line("planned", planned, GREY, dashed=True),
        rate("answered or rightly refused", GREEN, Outcome.ANSWERED, Outcome.REFUSED),
        rate("shed", ORANGE, Outcome.SHED),
        rate("failed", RED, Outcome.FAILED),
    ]
    edges = [index * width_s for index in range(len(windows) + 1)]
    in_flight = mean_in_flight([sample.flight for sample in results.samples], edges)
    queue = [Line("on average", list(zip(middles, in_flight, strict=True)), BLUE)]
    latency = [quantile("p50", BLUE, 0.5), quantile("p95", ORANGE, 0.95), quantile("slowest", RED, 1.0)]
    asked = results.objectives.generator
    lag = [
        Line("longest in each half second", [(beat.at_s, 1000 * beat.lag_s) for beat in results.beats], BLUE),
        Line("limit of its p95", [(0, asked.max_lag_p95_ms), (total_s, asked.max_lag_p95_ms)], GREY, dashed=True),
    ]
    cpu = [
        Line("of each process", [(beat.at_s, 100 * beat.cpu_share) for beat in results.beats], ORANGE),
        Line("limit", [(0, 100 * asked.max_cpu_share), (total_s, 100 * asked.max_cpu_share)], GREY, dashed=True),
    ]
    x = "seconds since the plan began (requests by when they were due)"
    return [
        chart("Rates over time", x, "requests/s", rates, bands=bands, x_high=total_s),
        chart("Latency over time", x, "ms, log scale", latency, logarithmic=True, bands=bands, x_high=total_s),
        chart("Requests in flight, from when they were due", x, "requests", queue, bands=bands, x_high=total_s),
        chart("The generator: how late its loop ran", x, "ms", lag, bands=bands, x_high=total_s),
        chart("The generator: CPU", x, "% of a core", cpu, bands=bands, x_high=total_s),
    ]


def _latency_ms(window: Sequence[Sample], share: float) -> float:
    return 1000 * percentile([s.latency_s for s in window if s.outcome is Outcome.ANSWERED], share)
