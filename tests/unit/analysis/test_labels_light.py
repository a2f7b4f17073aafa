"""The light "labels": what neither arm serves is no fault of the labels; what one arm alone serves is."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.findings.preconditions import _labels


def task(*coverages: float | None) -> dict[str, Any]:
    arms = [{"coverage": coverage, "delay_h": {"p90": None}} for coverage in coverages]
    return {"labels": {"arms": arms, "coverage_p": 1.0, "young": 0.0}}


@pytest.mark.parametrize(
    ("coverages", "state", "says"),
    [
        ((None, None), "green", "t: neither arm serves it."),
        ((None, 1.0), "red", "t: an arm has no verdict."),
        ((1.0, 1.0), "green", "t: labels stand for 100% and 100% of the verdicts."),
    ],
)
def test_a_task_that_neither_arm_serves_stops_nothing(
    coverages: tuple[float | None, ...], state: str, says: str
) -> None:
    assert _labels({"t": task(*coverages)}) == {"name": "labels", "state": state, "says": says}
