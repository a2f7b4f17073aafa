"""Sticky arms and their shares."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.experiment.assignment import assign

WEIGHTS = st.lists(st.floats(0, 1e6), min_size=1, max_size=5).filter(lambda ws: sum(ws) > 0)


@given(unit=st.text(), weights=WEIGHTS, salt=st.text())
def test_a_unit_always_gets_the_same_arm_and_one_with_weight(unit: str, weights: list[float], salt: str) -> None:
    arms = [(f"arm{i}", weight) for i, weight in enumerate(weights)]
    chosen = assign(unit, arms, "e", salt)
    assert dict(arms)[chosen] > 0
    assert {assign(unit, arms, "e", salt) for _ in range(3)} == {chosen}


@given(salt=st.text(max_size=20), share=st.floats(0.05, 0.95))
def test_shares_follow_the_weights(salt: str, share: float) -> None:
    arms = [("a", share), ("b", 1 - share)]
    n = 2000
    got = sum(assign(f"id:{i}", arms, "e", salt) == "a" for i in range(n)) / n
    assert abs(got - share) < 6 * (share * (1 - share) / n) ** 0.5


@given(units=st.lists(st.text(), min_size=1, max_size=50), less=st.floats(0, 1), more=st.floats(0, 1))
def test_raising_an_arms_share_moves_units_only_towards_it(units: list[str], less: float, more: float) -> None:
    less, more = sorted((less, more))
    for unit in units:
        before = assign(unit, [("old", 1 - less), ("new", less)], "e", "s")
        after = assign(unit, [("old", 1 - more), ("new", more)], "e", "s")
        assert (before, after) != ("new", "old")
