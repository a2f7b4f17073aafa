"""Evidence that may be looked at after every observation: false alarms stay rare, faults are found."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from service.experiment.watch.evidence import Multinomial, NoWorse, ShareAtMost, ShiftAtMost

ALPHA = 0.05
SURELY = math.log(1 / ALPHA)
RUNS = 200
MOST = 19
"""Of 200 runs without fault, more alarms have a chance below 1 in 300 where alpha holds: binomial (200, 0.05)."""
REFERENCE = np.asarray([5, 4, 3, 2, 1, 1, 1, 1, 1, 1.0]) / 20


def alarms(shares: dict[str, float], true: dict[str, float], length: int) -> int:
    rng, names = np.random.default_rng(1), list(shares)
    found = 0
    for _ in range(RUNS):
        test = Multinomial(shares)
        for drawn in rng.choice(len(names), length, p=[true[name] for name in names]):
            test.observe(names[drawn])
            if test.log_e >= SURELY:
                found += 1
                break
    return found


@pytest.mark.parametrize("share", [0.5, 0.98])
def test_a_true_sample_ratio_is_rarely_called_a_mismatch_at_any_look(share: float) -> None:
    shares = {"a": share, "b": 1 - share}
    assert alarms(shares, shares, 600) <= MOST


def test_a_wrong_sample_ratio_is_found() -> None:
    assert alarms({"a": 0.5, "b": 0.5}, {"a": 0.6, "b": 0.4}, 1500) >= RUNS - 3


def test_a_ratio_that_changes_with_its_weights_is_no_mismatch_and_one_that_does_not_is() -> None:
    rng = np.random.default_rng(2)
    obeys, ignores = Multinomial({"a": 0.9, "b": 0.1}), Multinomial({"a": 0.9, "b": 0.1})
    for share in (0.9, 0.5, 0.1):
        obeys.reweigh({"a": share, "b": 1 - share})
        ignores.reweigh({"a": share, "b": 1 - share})
        for _ in range(500):
            obeys.observe("a" if rng.random() < share else "b")
            ignores.observe("a" if rng.random() < 0.9 else "b")
    assert obeys.log_e < SURELY < ignores.log_e


def test_an_arm_without_weight_that_is_met_is_no_chance() -> None:
    with pytest.raises(KeyError):
        Multinomial({"a": 1.0}).observe("b")


def late_alarms(true: float, length: int) -> int:
    rng, found = np.random.default_rng(3), 0
    for _ in range(RUNS):
        test = ShareAtMost(0.01)
        for event in rng.random(length) < true:
            test.observe(event=bool(event))
            if test.log_e >= SURELY:
                found += 1
                break
    return found


def test_a_share_at_its_bound_rarely_raises_an_alarm_and_one_far_above_always() -> None:
    assert late_alarms(0.01, 700) <= MOST
    assert late_alarms(0.1, 300) >= RUNS - 3


def worse_alarms(
    arm: float, other: float, weight: float, length: int, *, margin: float = 0.01, incident: bool = False
) -> int:
    rng, found = np.random.default_rng(4), 0
    for _ in range(RUNS):
        test = NoWorse(margin)
        drawn, luck = rng.random(length) < weight, rng.random(length)
        for i, (in_arm, chance) in enumerate(zip(drawn, luck, strict=True)):
            everywhere = 0.5 if incident and i % 200 < 100 else 0.0
            event = bool(chance < max(everywhere, arm if in_arm else other))
            test.observe(in_arm=bool(in_arm), event=event, arm_weight=weight, reference_weight=1 - weight)
            if test.log_e >= SURELY:
                found += 1
                break
    return found


@pytest.mark.parametrize("weight", [0.5, 0.05, 0.95])
def test_an_arm_no_worse_than_the_margin_rarely_raises_an_alarm(weight: float) -> None:
    assert worse_alarms(0.12, 0.02, weight, 500, margin=0.1) <= MOST


def test_an_incident_that_meets_both_arms_is_no_fault_of_one() -> None:
    assert worse_alarms(0.01, 0.0, 0.5, 500, incident=True) <= MOST


@pytest.mark.parametrize(("weight", "length"), [(0.5, 400), (0.1, 2000)])
def test_an_arm_that_fails_often_is_found(weight: float, length: int) -> None:
    assert worse_alarms(0.2, 0.0, weight, length) >= RUNS - 3


def test_a_share_of_two_arms_among_three_is_judged_by_the_draw_between_them() -> None:
    once, twice = NoWorse(0.01), NoWorse(0.01)
    once.observe(in_arm=True, event=True, arm_weight=0.5, reference_weight=0.5)
    twice.observe(in_arm=True, event=True, arm_weight=0.2, reference_weight=0.2)
    assert once.log_e == twice.log_e > 0


def shifted(limit: float) -> np.ndarray:
    """The distribution between the reference and its mirror that lies at the limit."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        mixed = (1 - middle) * REFERENCE + middle * REFERENCE[::-1]
        low, high = (middle, high) if kl(mixed) < limit else (low, middle)
    return (1 - low) * REFERENCE + low * REFERENCE[::-1]


def kl(now: np.ndarray) -> float:
    return float((REFERENCE * np.log(REFERENCE / now)).sum())


def shift_alarms(now: np.ndarray, limit: float, length: int, runs: int = 100) -> int:
    rng, found = np.random.default_rng(5), 0
    for _ in range(runs):
        test = ShiftAtMost(tuple(REFERENCE), limit)
        for i, category in enumerate(rng.choice(len(REFERENCE), length, p=now)):
            test.observe(int(category))
            if i % 10 == 9 and test.log_e >= SURELY:
                found += 1
                break
    return found


def test_scores_within_the_limit_rarely_raise_an_alarm_and_others_do() -> None:
    assert shift_alarms(REFERENCE, 0.1, 400) <= 1
    assert shift_alarms(shifted(0.1), 0.1, 600) <= 12
    assert shift_alarms(REFERENCE[::-1], 0.1, 400) >= 99


def test_the_likeliest_within_the_limit_is_at_least_as_likely_as_any_that_was_tried() -> None:
    rng = np.random.default_rng(6)
    test = ShiftAtMost(tuple(REFERENCE), 0.1)
    for category in rng.choice(len(REFERENCE), 60, p=REFERENCE[::-1]):
        test.observe(int(category))
    best = test._best_within()
    tried = rng.dirichlet(REFERENCE * 60, 4000)
    within = [now for now in tried if kl(now) <= 0.1]
    within += [test._pulled(p) for p in np.geomspace(1e-3, 1e4, 400) if kl(test._pulled(p)) <= 0.1]
    assert len(within) > 500
    likelihoods = [float((test.counts * np.log(now)).sum()) for now in within]
    assert max(likelihoods) <= best <= max(likelihoods) + 1


def test_a_distribution_that_lacks_a_bin_of_the_reference_is_far_away() -> None:
    test = ShiftAtMost((0.5, 0.5), 0.1)
    logs = []
    for _ in range(40):
        test.observe(0)
        logs.append(test.log_e)
    assert logs[-1] > SURELY
    assert all(after > before for before, after in pairwise(logs[10:]))
    assert (test.total, round(test.psi, 1)) == (40, 2.1)
