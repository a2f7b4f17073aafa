"""Who was told to come back when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.scheduling.promises import MAX_RETRY_AFTER_S, Promises
from tests.unit.service.scheduling.test_estimate import Clock


def promises(clock: Clock, entries: int = 4096) -> tuple[Promises, list[bool]]:
    ended: list[bool] = []
    return Promises(ended.append, entries, clock), ended


def test_it_is_the_drain_time_rounded_up_and_at_least_a_second() -> None:
    made, _ = promises(Clock())
    assert made.promise(None, 0.0, 21.7) == 22
    assert made.promise(None, 0.0, 0.0) == 1
    assert made.promise(None, 0.0, 1e9) == MAX_RETRY_AFTER_S


def test_turns_follow_each_other_at_the_pace_of_the_workers() -> None:
    made, _ = promises(Clock())
    made.kept_share = 1.0
    assert [made.promise(f"caller {i}", 2.0, 10.0) for i in range(4)] == [10, 12, 14, 16]


def test_who_comes_as_told_is_known_and_who_is_early_is_told_the_rest() -> None:
    clock = Clock()
    made, ended = promises(clock)
    assert made.promise("a", 1.0, 10.0) == 10
    clock.now += 4
    assert made.redeem("a") is None
    assert made.promise("a", 1.0, 0.0) == 6
    clock.now += 6
    kept = made.redeem("a")
    assert kept is not None
    assert (kept.made, kept.due) == (1000.0, 1010.0)
    assert made.redeem("a") is None
    assert made.redeem("stranger") is None
    assert made.redeem(None) is None
    assert ended == [True]


def test_room_is_kept_for_those_whose_turn_comes_up_and_only_as_far_as_they_come() -> None:
    clock = Clock()
    made, ended = promises(clock)
    for i in range(4):
        made.promise(f"caller {i}", 1.0, 5.0)
    assert made.due_s(3.0) == 0
    due = made.due_s(20.0)
    assert due == 4 * made.kept_share
    clock.now += 60
    assert made.due_s(20.0) == 0
    assert ended == [False] * 4
    assert made.kept_share < due / 4


def test_the_oldest_are_forgotten() -> None:
    made, _ = promises(Clock(), entries=3)
    for i in range(10):
        made.promise(f"caller {i}", 0.1, 1.0)
    assert len(made) == 3


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 10), st.floats(0, 200), st.floats(0, 30)), max_size=60))
def test_nobody_is_told_to_come_before_the_work_is_done(steps: list[tuple[int, float, float, float]]) -> None:
    clock = Clock()
    made, _ = promises(clock)
    for who, work_s, drain_s, pause_s in steps:
        name = f"caller {who}"
        if made.redeem(name) is None:
            early = name in made._promises
            wait_s = made.promise(name, work_s, drain_s)
            assert 1 <= wait_s <= MAX_RETRY_AFTER_S
            assert early or wait_s >= min(MAX_RETRY_AFTER_S, drain_s)
        assert 0.04 < made.kept_share <= 1
        assert made.due_s(1e9) >= 0
        clock.now += pause_s
