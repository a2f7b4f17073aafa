"""The plan: ramps, hold-outs, forced arms, stopped arms; and what configuration is refused."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from contract.decision_log import name_hash
from service.experiment.configuration import Experiments
from service.experiment.plan import Plan, Units

ARMS = [{"name": name, "bundle": name, "weight": weight} for name, weight in (("old", 3), ("new", 1))]
START = datetime(2026, 12, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def made(experiment: dict[str, Any] | None = None, **more: Any) -> Experiments:
    return Experiments.model_validate({"arms": ARMS, "experiment": experiment or {}} | more)


def plan(experiment: dict[str, Any] | None = None, **more: Any) -> Plan:
    return Plan.of(made(experiment, **more))


def videos(count: int) -> list[Units]:
    return [Units(content="0", video_id=str(i)) for i in range(count)]


def test_a_ramp_takes_its_weights_at_its_dates_and_moves_units_one_way() -> None:
    steps = [
        {"from": START.isoformat(), "weights": {"old": 90, "new": 10}},
        {"from": (START + DAY).isoformat(), "weights": {"old": 90, "new": 90}},
    ]
    ramped = plan({"ramp": steps})
    experiment = ramped.experiments["baseline-vs-student"]
    times = [START - DAY, START, START + DAY / 2, START + DAY]
    assert [experiment.weights(at).get("new") for at in times] == [0.25, 0.1, 0.1, 0.5]
    first = {u: ramped.assign(u, START).arm for u in videos(500)}
    assert 20 <= Counter(first.values())["new"] <= 85
    assert all(ramped.assign(u, START + DAY).arm == "new" for u, arm in first.items() if arm == "new")


def test_an_arm_that_a_ramp_brings_in_later_is_an_arm_of_the_experiment() -> None:
    listed = [{"name": "e", "arms": {"old": 1}, "ramp": [{"from": START.isoformat(), "weights": {"new": 1}}]}]
    assert plan(experiments=listed).experiments["e"].arms == ("new", "old")


def test_held_out_units_get_the_default_arm_and_a_mark() -> None:
    found = [plan({"holdout": 0.2, "default_arm": "new"}).assign(u, START) for u in videos(1000)]
    held = [a for a in found if a.holdout]
    assert 140 <= len(held) <= 260
    assert {a.arm for a in held} == {"new"}
    assert not any(a.compared for a in held)
    assert {a.arm for a in found if not a.holdout} == {"old", "new"}
    assert all(a.compared for a in found if not a.holdout)


def test_a_stopped_arm_gives_away_its_own_units_only() -> None:
    whole = plan()
    for units in videos(300):
        before = whole.assign(units, START)
        after = whole.assign(units, START, {("baseline-vs-student", "new")})
        assert after.arm == "old"
        assert after.weights == {"old": 1.0}
        assert whole.assign(units, START, {("another", "new")}) == before


def test_where_every_arm_is_stopped_the_default_answers() -> None:
    stopped = {("baseline-vs-student", "old"), ("baseline-vs-student", "new")}
    found = plan({"default_arm": "new"}).assign(videos(1)[0], START, stopped)
    assert (found.arm, found.weights) == ("new", {"new": 1.0})


def test_units_fall_back_from_video_to_content_and_never_from_account() -> None:
    content = "c" * 64
    assert plan().assign(Units(content), START).unit == "content"
    assert plan({"unit": "content"}).assign(Units(content, "v", "a"), START).unit_hash == name_hash(content)
    outside = plan({"unit": "account_id"}).assign(Units(content, "v"), START)
    assert (outside.experiment, outside.arm, outside.compared) == ("none", "old", False)
    inside = plan({"unit": "account_id"}).assign(Units(content, "v", "a"), START)
    assert (inside.experiment, inside.unit_hash) == ("baseline-vs-student", name_hash("a"))


def test_a_forced_arm_is_marked_and_no_part_of_the_comparison() -> None:
    for units in videos(20):
        found = plan().force(units, "new", START)
        assert (found.arm, found.forced, found.compared) == ("new", True, False)
        assert found.experiment == "baseline-vs-student"


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"experiment": {"default_arm": "who"}}, "there is no arm who"),
        ({"experiment": {"name": "none"}}, "none may be none"),
        ({"experiment": {"force_token": "short"}}, "at least 16"),
        ({"experiment": {"ramp": [{"from": "2026-12-01T00:00:00Z", "weights": {"who": 1}}]}}, "there is no arm who"),
        ({"experiment": {"ramp": [{"from": "2026-12-01T00:00:00Z", "weights": {"new": 0}}]}}, "above 0"),
        ({"experiment": {"ramp": [{"from": "2026-12-01T00:00:00", "weights": {"new": 1}}]}}, "timezone"),
        (
            {"experiment": {"ramp": [{"from": f"2026-12-0{day}T00:00:00Z", "weights": {"new": 1}} for day in (2, 1)]}},
            "ascend",
        ),
        ({"experiments": [{"name": "e", "arms": {"who": 1}}]}, "there is no arm who"),
        ({"experiments": [{"name": "e", "arms": {"new": 0}}]}, "above 0"),
        ({"experiments": [{"name": "e", "part": [0.5, 0.5]}]}, "part must ascend"),
        ({"experiments": [{"name": "e", "part": [0, 0.5]}, {"name": "f", "part": [0.4, 1]}]}, "overlap in layer"),
        ({"experiments": [{"name": "e", "part": [0, 0.5]}, {"name": "e", "part": [0.5, 1]}]}, "different names"),
        (
            {"experiments": [{"name": "e", "part": [0, 0.5]}, {"name": "f", "part": [0.5, 1], "unit": "content"}]},
            "one unit",
        ),
        ({"experiments": [{"name": "e"}], "experiment": {"holdout": 0.1}}, "single form"),
        ({"experiments": [{"name": "e", "holdot": 0.1}]}, "holdot"),
    ],
)
def test_what_contradicts_itself_is_refused(sections: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        made(**sections)
