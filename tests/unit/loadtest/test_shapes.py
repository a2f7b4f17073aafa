"""Every shape is bounded, and ends."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from loadtest.shapes import MAX_PER_S, MAX_TOTAL_S, SHAPES, Plan, make_plan


@pytest.mark.parametrize("shape", SHAPES)
def test_a_plan_takes_the_seconds_it_was_given(shape: str) -> None:
    made = make_plan(shape, per_s=8, seconds=60, arm="student" if shape == "ramp-arm" else None)
    assert made.total_s == pytest.approx(60, abs=0.01)
    assert made.stage_at(0) == 0
    assert made.stage_at(1e9) == len(made.stages) - 1
    assert all(stage.seconds > 0 and stage.per_s > 0 for stage in made.stages)
    assert TypeAdapter(Plan).validate_json(TypeAdapter(Plan).dump_json(made)) == made


def test_what_each_shape_does() -> None:
    steps = [stage.load for stage in make_plan("steps", per_s=8, seconds=60).stages]
    assert steps == sorted(steps)
    assert steps[0] < 0.5 < 1 < steps[-1]
    calm, spike, after = make_plan("spike", per_s=8, seconds=60).stages
    assert calm == after
    assert spike.per_s > 8 > calm.per_s
    assert {stage.per_s for stage in make_plan("soak", per_s=8, seconds=60).stages} == {4}
    shares = [stage.arm_share for stage in make_plan("ramp-arm", per_s=8, seconds=60, arm="student").stages]
    assert shares == [0.05, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("shape", "per_s", "seconds", "arm"),
    [
        ("stairs", 1, 1, None),
        ("steps", 0, 1, None),
        ("steps", MAX_PER_S * 2, 1, None),
        ("steps", 1, 0, None),
        ("soak", 1, MAX_TOTAL_S + 1, None),
        ("soak", 1, float("nan"), None),
        ("steps", float("inf"), 1, None),
        ("ramp-arm", 1, 1, None),
        ("steps", 1, 1, "student"),
    ],
)
def test_what_is_no_plan_is_refused(shape: str, per_s: float, seconds: float, arm: str | None) -> None:
    with pytest.raises(ValueError, match=r"shape|seconds|rate|arm"):
        make_plan(shape, per_s=per_s, seconds=seconds, arm=arm)


def test_stages_follow_each_other() -> None:
    made = make_plan("spike", per_s=10, seconds=50)
    assert made.starts() == [0, 20, 30]
    assert [made.stage_at(at) for at in (19.9, 20, 29.9, 30)] == [0, 1, 1, 2]


def test_a_longer_stage_moves_those_after_it() -> None:
    made = make_plan("spike", per_s=10, seconds=50)
    longer = made.extended(1, 5)
    assert longer.starts() == [0, 20, 35]
    assert [longer.ends_at(index) for index in range(3)] == [20, 35, 55]
    assert (made.total_s, longer.total_s) == (50, 55)


def test_only_the_search_for_the_capacity_is_extended_and_within_bounds() -> None:
    more = [make_plan(s, per_s=8, seconds=60, arm="a" if s == "ramp-arm" else None).may_extend_s for s in SHAPES]
    assert dict(zip(SHAPES, more, strict=True)) == {"steps": pytest.approx(60), "spike": 0, "soak": 0, "ramp-arm": 0}
    assert make_plan("steps", per_s=8, seconds=3600).may_extend_s == 120
