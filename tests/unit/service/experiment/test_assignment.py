"""Assignment: pinned positions, so that a release cannot reshuffle a running experiment."""

from __future__ import annotations

import pytest

from service.experiment.assignment import assign, position


def test_positions_are_pinned() -> None:
    assert position("id:7", "baseline-vs-student", "cpfd-1") == pytest.approx(0.19055246941509504, abs=1e-12)
    assert position("id:7", "baseline-vs-student", "cpfd-2") != position("id:7", "baseline-vs-student", "cpfd-1")


def test_neighbouring_parts_do_not_run_together() -> None:
    assert position("c", "a", "b") != position("bc", "a", "")


def test_an_arm_without_weight_gets_nothing() -> None:
    arms = [("off", 0.0), ("on", 1.0), ("off too", 0.0)]
    assert {assign(f"id:{i}", arms, "e", "s") for i in range(200)} == {"on"}
    with pytest.raises(ValueError, match="weight"):
        assign("id:1", [("off", 0.0)], "e", "s")
