"""Sticky arms, their shares, and who moves when weights change."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.experiment.assignment import assign, held_out, place, position
from service.experiment.configuration import Experiments
from service.experiment.plan import Plan, Units

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 12, 1, tzinfo=UTC)
WEIGHTS = st.lists(st.floats(0, 1e6), min_size=1, max_size=5).filter(lambda ws: sum(ws) > 0)
GIVEN = st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=5)
FACTOR = st.floats(1, 1e6)
UNITS = st.lists(st.text(), min_size=1, max_size=50)


def named(weights: list[float]) -> list[tuple[str, float]]:
    return [(f"arm{i}", weight) for i, weight in enumerate(weights)]


@given(unit=st.text(), weights=WEIGHTS, salt=st.text(), data=st.data())
def test_a_unit_always_gets_the_same_arm_and_one_with_weight(
    unit: str, weights: list[float], salt: str, data: st.DataObject
) -> None:
    arms = named(weights)
    chosen = assign(unit, arms, "e", salt)
    assert dict(arms)[chosen] > 0
    assert assign(unit, data.draw(st.permutations(arms)), "e", salt) == chosen


@given(units=UNITS, weights=GIVEN, factor=FACTOR, data=st.data())
def test_growing_an_arm_moves_no_unit_out_of_it_and_none_between_others(
    units: list[str], weights: list[float], factor: float, data: st.DataObject
) -> None:
    grown = data.draw(st.integers(0, len(weights) - 1))
    before = named(weights)
    after = named([w * factor if i == grown else w for i, w in enumerate(weights)])
    for unit in units:
        was, now = assign(unit, before, "e", "s"), assign(unit, after, "e", "s")
        assert was == now or now == f"arm{grown}"


@given(units=UNITS, weights=GIVEN, factor=FACTOR, off=st.booleans(), data=st.data())
def test_shrinking_an_arm_moves_only_its_own_units(
    units: list[str], weights: list[float], factor: float, off: bool, data: st.DataObject
) -> None:
    shrunk = data.draw(st.integers(0, len(weights) - 1))
    less = 0.0 if off else weights[shrunk] / factor
    after = named([less if i == shrunk else w for i, w in enumerate(weights)])
    for unit in units:
        was, now = assign(unit, named(weights), "e", "s"), assign(unit, after, "e", "s")
        assert was == now or was == f"arm{shrunk}"


@given(units=UNITS, less=st.floats(0, 1), more=st.floats(0, 1))
def test_a_hold_out_that_grows_keeps_whom_it_has(units: list[str], less: float, more: float) -> None:
    less, more = sorted((less, more))
    assert all(held_out(u, more, "e", "s") for u in units if held_out(u, less, "e", "s"))


def binomial_tail(n: int, p: float, seen: int) -> float:
    """The exact probability of a count at least as far from its mean, both sides."""
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(n + 1)]
    chances = [math.exp(log + k * math.log(p) + (n - k) * math.log1p(-p)) for k, log in enumerate(logs)]
    below, above = sum(chances[: seen + 1]), sum(chances[seen:])
    return min(1.0, 2 * min(below, above))


@pytest.mark.parametrize("weights", [(50, 50), (90, 10), (98, 1, 1), (0.3, 0.5, 0.2)])
def test_shares_are_within_exact_binomial_bounds(weights: tuple[float, ...]) -> None:
    n, arms = 20_000, named(list(weights))
    seen = Counter(assign(f"video_id:{i}", arms, "e", "s") for i in range(n))
    for name, weight in arms:
        assert binomial_tail(n, weight / sum(weights), seen[name]) > 1e-4, (name, seen)


def test_experiments_layers_and_hold_outs_are_independent() -> None:
    """Of any two, the four combinations come as often as chance says: chi-square with one degree of freedom."""
    n, halves = 20_000, [("a", 1.0), ("b", 1.0)]
    splits = {
        "one salt": [assign(str(i), halves, "e", "s1") == "a" for i in range(n)],
        "another salt": [assign(str(i), halves, "e", "s2") == "a" for i in range(n)],
        "another experiment": [assign(str(i), halves, "f", "s1") == "a" for i in range(n)],
        "a layer": [place(str(i), "one") < 0.5 for i in range(n)],
        "another layer": [place(str(i), "two") < 0.5 for i in range(n)],
        "a hold-out": [held_out(str(i), 0.5, "e", "s1") for i in range(n)],
    }
    names = list(splits)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            both = Counter(zip(splits[first], splits[second], strict=True))
            assert sum((both[key] - n / 4) ** 2 / (n / 4) for key in both) < 24, (first, second)


@given(parts=st.lists(st.text(), min_size=1, max_size=4), other=st.lists(st.text(), min_size=1, max_size=4))
def test_positions_lie_inside_and_differ_between_parts(parts: list[str], other: list[str]) -> None:
    assert 0 < position(*parts) < 1
    assert (position(*parts) == position(*other)) == (parts == other)


def test_no_unit_is_in_two_experiments_of_a_layer_and_what_is_left_goes_to_the_next() -> None:
    arms = [{"name": name, "bundle": name, "weight": 1} for name in ("old", "new")]
    listed = [
        {"name": "first", "part": [0, 0.3]},
        {"name": "second", "part": [0.3, 0.5]},
        {"name": "accounts", "layer": "accounts", "unit": "account_id"},
    ]
    plan = Plan.of(Experiments.model_validate({"arms": arms, "experiments": listed}))
    alone = {
        name: Plan.of(
            Experiments.model_validate({"arms": arms, "experiments": [e for e in listed if e["name"] == name]})
        )
        for name in ("first", "second")
    }
    n, seen = 10_000, Counter[str]()
    for i in range(n):
        units = Units(content="0", video_id=str(i), account_id="me" if i % 2 else None)
        found = plan.assign(units, NOW)
        seen[found.experiment] += 1
        inside = [name for name, single in alone.items() if single.assign(units, NOW).experiment == name]
        assert inside == ([found.experiment] if found.experiment in alone else [])
        assert (found.unit == "account_id") == (found.experiment == "accounts")
    expected = {"first": 0.3, "second": 0.2, "accounts": 0.25, "none": 0.25}
    assert set(seen) == set(expected)
    for name, share in expected.items():
        assert binomial_tail(n, share, seen[name]) > 1e-4


def test_another_process_decides_the_same() -> None:
    code = (
        "from service.experiment.assignment import assign\n"
        "print([assign(str(i), [('a', 1), ('b', 2)], 'e', 's') for i in range(50)])"
    )
    here = [assign(str(i), [("a", 1), ("b", 2)], "e", "s") for i in range(50)]
    for seed in ("1", "2"):
        environ = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == str(here)
