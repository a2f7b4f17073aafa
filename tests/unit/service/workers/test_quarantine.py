"""Quarantine: after so many crashes of its own, bounded, and not for ever."""

from __future__ import annotations

from service.workers.quarantine import Quarantine
from tests.unit.service.scheduling.test_estimate import Clock


def quarantine(after: int, entries: int = 10, clock: Clock | None = None) -> Quarantine:
    return Quarantine(after, entries, 60.0, clock or Clock())


def test_a_clip_is_held_after_its_second_crash() -> None:
    held = quarantine(after=2)
    held.record("a")
    assert not held.holds("a")
    held.record("a")
    assert held.holds("a")
    assert not held.holds("b")


def test_the_least_recently_seen_is_forgotten() -> None:
    held = quarantine(after=1, entries=2)
    for digest in ("a", "b"):
        held.record(digest)
    assert held.holds("a")
    held.record("c")
    assert [held.holds(digest) for digest in "abc"] == [True, False, True]


def test_a_crash_counts_as_being_seen() -> None:
    held = quarantine(after=2, entries=2)
    for digest in ("a", "b", "a", "c"):
        held.record(digest)
    held.record("b")
    held.record("b")
    assert held.holds("b")
    assert not held.holds("a")
    held = quarantine(after=2, entries=2)
    for digest in ("a", "b", "a", "c"):
        held.record(digest)
    assert held.holds("a")


def test_a_conviction_expires() -> None:
    clock = Clock()
    held = quarantine(after=2, clock=clock)
    held.record("a")
    clock.now += 50
    held.record("a")
    assert held.holds("a")
    clock.now += 20
    assert not held.holds("a")
    held.record("a")
    assert held.holds("a")
    clock.now += 61
    assert not held.holds("a")
    assert not held._crashes


def test_crashes_long_apart_do_not_add_up() -> None:
    clock = Clock()
    held = quarantine(after=2, clock=clock)
    for _ in range(5):
        held.record("a")
        clock.now += 61
        assert not held.holds("a")
