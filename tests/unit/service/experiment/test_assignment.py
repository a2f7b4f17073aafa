"""Assignment: pinned positions and arms, so that a release cannot reshuffle a running experiment."""

from __future__ import annotations

import pytest

from service.experiment.assignment import assign, place, position


def test_positions_are_pinned() -> None:
    assert position("baseline-vs-student", "cpfd-1", "student", "video_id:7") == 0.05854445487043691
    assert place("video_id:7", "default") == 0.3947946788565019


def test_arms_are_pinned() -> None:
    arms = [("baseline", 50), ("student", 50)]
    found = "".join(assign(f"video_id:{i}", arms, "baseline-vs-student", "cpfd-1")[0] for i in range(24))
    assert found == "bssbbbbbbbbbbsbssbsbbsbb"


def test_neighbouring_parts_do_not_run_together() -> None:
    assert position("c", "a", "b") != position("bc", "a", "")


def test_an_arm_without_weight_gets_nothing() -> None:
    arms = [("off", 0.0), ("on", 1.0), ("off too", 0.0)]
    assert {assign(f"id:{i}", arms, "e", "s") for i in range(200)} == {"on"}
    with pytest.raises(ValueError, match="weight"):
        assign("id:1", [("off", 0.0)], "e", "s")
