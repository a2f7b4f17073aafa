"""Quarantine: after so many crashes, bounded."""

from __future__ import annotations

from service.stages.quarantine import Quarantine


def test_a_clip_is_held_after_its_second_crash() -> None:
    quarantine = Quarantine(after=2, entries=10)
    quarantine.record("a")
    assert not quarantine.holds("a")
    quarantine.record("a")
    assert quarantine.holds("a")
    assert not quarantine.holds("b")


def test_the_least_recently_seen_is_forgotten() -> None:
    quarantine = Quarantine(after=1, entries=2)
    for digest in ("a", "b"):
        quarantine.record(digest)
    assert quarantine.holds("a")
    quarantine.record("c")
    assert [quarantine.holds(digest) for digest in "abc"] == [True, False, True]
