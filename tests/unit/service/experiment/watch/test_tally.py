"""One experiment as a pod sees it: what counts, in which order, and when an arm breaks a guardrail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from contract.decision_log import name_hash
from contract.reference import SCORE_BOUNDS, ScoreReference, TaskReference
from service.experiment.configuration import GuardrailSettings
from service.experiment.plan import Assignment
from service.experiment.watch.tally import Tally

LOW = (40, 20, 10, 5, 5) + (1,) * 15
SHARES = np.asarray(LOW) / sum(LOW)


def reference(counts: tuple[int, ...] = LOW) -> ScoreReference:
    return ScoreReference(
        model_digest="0" * 64,
        policy_digest="0" * 64,
        manifest_digest="0" * 64,
        split="val",
        rows=sum(counts),
        tasks={"violence": TaskReference(counts=counts)},
    )


def tally(**settings: Any) -> Tally:
    references = {"old": reference(), "new": reference()}
    return Tally("e", references, "old", GuardrailSettings(**settings))


def assignment(arm: str, unit: int | str, weights: dict[str, float] | None = None, **marks: Any) -> Assignment:
    given = {"old": 0.5, "new": 0.5} if weights is None else weights
    return Assignment("e", arm, "video_id", name_hash(str(unit)), given, **marks)


class Traffic:
    """Units of two arms, each of which fails, lags and scores as it does."""

    def __init__(self, watched: Tally, seed: int = 0, new_weight: float = 0.5) -> None:
        self.watched, self.rng, self.units = watched, np.random.default_rng(seed), 0
        self.weights = {"old": 1 - new_weight, "new": new_weight}

    def send(
        self,
        count: int,
        fails: tuple[float, float] = (0, 0),
        late: tuple[float, float] = (0, 0),
        moved: tuple[float, float] = (0, 0),
    ) -> set[str]:
        """The guardrails that were broken; (of old, of new) each."""
        broken: set[str] = set()
        for _ in range(count):
            self.units += 1
            new = bool(self.rng.random() < self.weights["new"])
            seen = self.watched.exposed(assignment("new" if new else "old", self.units, self.weights))
            if seen is None:
                continue
            category = self.rng.choice(20, p=SHARES[::-1] if self.rng.random() < moved[new] else SHARES)
            seen.scores = {"violence": SCORE_BOUNDS[int(category)] - 0.01}
            latency_ms = 9000.0 if self.rng.random() < late[new] else 100.0
            found = self.watched.ended(seen, failed=bool(self.rng.random() < fails[new]), latency_ms=latency_ms)
            broken |= {f"{arm} {guardrail}" for arm, (guardrail, _) in found.items()}
            if broken:
                break
        return broken


@pytest.mark.parametrize("weight", [0.5, 0.1])
def test_two_arms_without_a_difference_are_rarely_parted(weight: float) -> None:
    """Of 40 runs at alpha 0.05, more than six false stops have a chance below 1 in 300."""
    same = {"fails": (0.05, 0.05), "late": (0.009, 0.009), "moved": (0.02, 0.02)}
    stops = [Traffic(tally(alpha=0.05), seed, weight).send(250, **same) for seed in range(40)]
    assert sum(bool(found) for found in stops) <= 6


@pytest.mark.parametrize(
    ("fault", "guardrail"),
    [
        ({"fails": (0.0, 0.5)}, "error_rate"),
        ({"late": (0.0, 0.5)}, "p99"),
        ({"moved": (0.0, 1.0)}, "shift:violence"),
    ],
)
def test_a_fault_of_one_arm_stops_it(fault: dict[str, tuple[float, float]], guardrail: str) -> None:
    assert Traffic(tally()).send(1500, **fault) == {f"new {guardrail}"}


@pytest.mark.parametrize("fault", [{"fails": (0.5, 0.5)}, {"late": (0.5, 0.5)}, {"moved": (1.0, 1.0)}])
def test_what_both_arms_suffer_stops_neither(fault: dict[str, tuple[float, float]]) -> None:
    traffic = Traffic(tally())
    assert traffic.send(600, **fault) == set()


@pytest.mark.parametrize("fault", [{"fails": (0.5, 0.0)}, {"late": (0.5, 0.0)}, {"moved": (1.0, 0.0)}])
def test_the_default_arm_is_never_stopped(fault: dict[str, tuple[float, float]]) -> None:
    assert Traffic(tally()).send(400, **fault) == set()


def test_an_arm_that_has_everything_is_judged_by_its_objective_and_reference_alone() -> None:
    assert Traffic(tally(), new_weight=1.0).send(400, fails=(0, 0.5)) == set()
    assert Traffic(tally(), new_weight=1.0).send(400, late=(0, 0.5)) == {"new p99"}
    assert Traffic(tally(), new_weight=1.0).send(400, moved=(0, 1.0)) == {"new shift:violence"}


def test_a_unit_that_comes_again_is_counted_as_a_request_only() -> None:
    watched = tally()
    first = watched.exposed(assignment("new", "one"))
    assert first is not None
    for _ in range(500):
        assert watched.exposed(assignment("new", "one")) is None
        watched.count("new", "failed", 10.0)
    assert watched.ended(first, failed=True, latency_ms=10) == {}
    assert (watched.arms["new"].requests, watched.arms["new"].units) == (501, 1)
    assert watched.ratio_evidence < 0.2
    assert watched.guardrails["new"].evidence()["error_rate"] < 0.2


def test_what_is_forced_or_held_out_is_counted_apart() -> None:
    watched = tally()
    assert watched.exposed(assignment("new", 1, {}, forced=True)) is None
    assert watched.exposed(assignment("old", 2, {}, holdout=True)) is None
    assert (watched.arms["new"].forced, watched.arms["old"].held_out) == (1, 1)
    assert (watched.arms["new"].requests, watched.arms["old"].requests) == (0, 0)


def test_units_count_in_the_order_in_which_they_came() -> None:
    """Failures that end at once would else be all that is seen while answers are under way."""
    watched = tally()
    slow = watched.exposed(assignment("old", "slow"))
    quick = [watched.exposed(assignment("new", i)) for i in range(200)]
    assert slow is not None
    for seen in quick:
        assert seen is not None
        assert watched.ended(seen, failed=True, latency_ms=1) == {}
    assert watched.guardrails["new"].evidence()["error_rate"] == 0
    assert set(watched.ended(slow, failed=False, latency_ms=1)) == {"new"}


def test_units_that_reach_the_arms_by_other_shares_are_a_mismatch() -> None:
    watched = tally()
    for i in range(600):
        watched.exposed(assignment("new" if i % 3 == 0 else "old", i))
    assert watched.ratio_evidence >= 1
    fair = tally()
    for i in range(600):
        fair.exposed(assignment("new" if i % 2 == 0 else "old", i))
    assert fair.ratio_evidence < 1


def test_an_arm_that_runs_again_begins_anew() -> None:
    watched = tally()
    assert Traffic(watched).send(1500, fails=(0, 1.0)) == {"new error_rate"}
    watched.forget("new")
    assert max(watched.guardrails["new"].evidence().values()) == 0
    watched.forget("old")
    assert set(watched.guardrails) == {"new"}


def test_quantiles_are_of_the_answers() -> None:
    watched = tally()
    assert watched.arms["new"].quantile_ms(0.5) is None
    for i in range(100):
        watched.count("new", "answered", float(i))
    watched.count("new", "failed", 1e6)
    assert (watched.arms["new"].quantile_ms(0.5), watched.arms["new"].quantile_ms(0.99)) == (50.0, 99.0)
