"""Latency, errors and cost: what must not get worse, whatever the quality."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import numpy as np

from analysis.findings.numbers import bounds, number, read_sequence
from analysis.log.rows import ExperimentRows
from analysis.question import Question
from analysis.statistics.quantiles import Quantile, quantile, ratio_interval
from analysis.statistics.ratio import Estimate, difference, estimates, ratio_of, sum_by_unit
from analysis.statistics.sequences import boundary

Status = Literal["held", "breached", "open"]


def guardrails_document(rows: ExperimentRows, question: Question) -> dict[str, Any]:
    """Guardrail -> both arms, the comparison with its always-valid interval, the limit, and whether it is kept.

    ``held``: the whole interval is within the limit; ``breached``: all of it is beyond; ``open``: the limit lies
    inside.
    """
    sums = _sums(rows)
    return {
        "p50_ms": _latency(rows, question, 0.5, question.max_p50_ratio),
        "p99_ms": _latency(rows, question, 0.99, question.max_p99_ratio),
        "error_rate": _errors(rows, question, [side[0] for side in sums]),
        "cost_per_1000": _cost(question, [side[1] for side in sums]),
    }


def _sums(rows: ExperimentRows) -> list[list[Estimate]]:
    """Per arm: the share of requests without a verdict, and CPU seconds a verdict."""
    requests, found = rows.requests, []
    for arm in (0, 1):
        chosen = requests.arm == arm
        ok = requests.ok[chosen].astype(float)
        numerator = np.stack([1 - ok, np.nan_to_num(requests.cpu_s[chosen])], axis=1)
        denominator = np.stack([np.ones_like(ok), ok], axis=1)
        found.append(estimates(sum_by_unit(requests.unit[chosen], numerator, denominator, rows.units)))
    return found


def _latency(rows: ExperimentRows, question: Question, share: float, limit: float) -> dict[str, Any]:
    """Of verdicts alone: a refusal is quick and no service."""
    requests, found, fewest = rows.requests, [], question.min_units
    for arm in (0, 1):
        chosen = requests.ok & (requests.arm == arm)
        unit = requests.unit[chosen]
        units = len(np.unique(unit))
        fewest = min(fewest, units)
        reach = float(boundary(np.asarray(max(1.0, units)), question.planned_units, question.alpha))
        found.append(quantile(requests.latency_ms[chosen], unit, share, reach))
    ratio, low, high = ratio_interval(found[1], found[0])
    if fewest < question.min_units:
        low, high = 0.0, float("inf")
    return {
        "arms": [_quantile_document(one) for one in found],
        "ratio": number(ratio),
        "always_valid_interval": bounds(low, high),
        "limit": limit,
        "status": _status(low, high, limit),
    }


def _quantile_document(found: Quantile) -> dict[str, Any]:
    return {"value": number(found.value), "always_valid_interval": bounds(found.low, found.high)}


def _errors(rows: ExperimentRows, question: Question, arms: list[Estimate]) -> dict[str, Any]:
    gap = difference(arms[1], arms[0])
    found = read_sequence(gap, min(one.units for one in arms), question)
    requests = rows.requests
    codes = [Counter(requests.code[(requests.arm == arm) & ~requests.ok].tolist()) for arm in (0, 1)]
    names = sorted({*codes[0], *codes[1]})
    return {
        "arms": [{"value": number(one.value)} for one in arms],
        "requests": [int((requests.arm == arm).sum()) for arm in (0, 1)],
        "difference": number(gap.value),
        "always_valid_interval": bounds(found.low, found.high),
        "limit": question.max_error_rise,
        "status": _status(found.low, found.high, question.max_error_rise),
        "codes": {name: [codes[arm][name] for arm in (0, 1)] for name in names},
    }


def _cost(question: Question, arms: list[Estimate]) -> dict[str, Any]:
    """Of all requests, refused ones too, over the verdicts that came of them."""
    price = 1.0 if question.cpu_hour_price is None else question.cpu_hour_price / 3600
    gap = ratio_of(arms[1], arms[0])
    found = read_sequence(gap, min(one.units for one in arms), question)
    low, high = np.exp(found.low), np.exp(found.high)
    return {
        "unit": "CPU seconds" if question.cpu_hour_price is None else "money",
        "arms": [{"value": number(1000 * price * one.value)} for one in arms],
        "ratio": number(float(np.exp(gap.value))),
        "always_valid_interval": bounds(float(low), float(high)),
        "limit": question.max_cost_ratio,
        "status": _status(float(low), float(high), question.max_cost_ratio),
    }


def _status(low: float, high: float, limit: float) -> Status:
    if high <= limit:
        return "held"
    return "breached" if low > limit else "open"
