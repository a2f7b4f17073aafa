"""The monitor: a broken guardrail takes an arm out, or only says so; what it shows."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from contract.decision import TaskDecision
from contract.reference import ScoreReference
from service.context import RequestContext
from service.experiment.configuration import Experiments
from service.experiment.plan import Plan, Units
from service.experiment.watch.monitor import Monitor
from service.experiment.watch.view import view_of
from service.metrics import Metrics
from tests.unit.service.experiment.watch.test_tally import reference

NAME = "baseline-vs-student"


def monitor(found: ScoreReference | None = None, **settings: Any) -> Monitor:
    arms = [{"name": name, "bundle": name, "weight": 1} for name in ("old", "new")]
    experiments = Experiments.model_validate({"arms": arms, "experiment": settings})
    bundles: Any = {name: SimpleNamespace(digest=f"{i}" * 64, reference=found) for i, name in enumerate(("old", "new"))}
    return Monitor(Plan.of(experiments), experiments.experiment, bundles, Metrics())


def send(watched: Monitor, unit: int, outcomes: dict[str, str], **marks: Any) -> str:
    """One request, which ends as its arm does; its arm."""
    context = RequestContext(f"r{unit}")
    units = Units("0", str(unit))
    assignment = watched.plan.assign(units, datetime.now(UTC), watched.stops.stopped)
    if marks:
        assignment = watched.plan.force(units, assignment.arm, datetime.now(UTC))
    watched.exposed(context, assignment)
    watched.scored(context, {"violence": decision(flagged=False)})
    watched.ended(context, outcomes.get(assignment.arm, "answered"))
    return assignment.arm


def decision(*, flagged: bool, supported: bool = True) -> TaskDecision:
    return TaskDecision(
        scores={"calm": 0.5, "violent": 0.5},
        label="calm",
        flag_score=0.5,
        threshold=0.4,
        flagged=flagged,
        flagged_labels=(),
        supported=supported,
        unsupported_because=None if supported else "not",
    )


def test_a_failing_arm_is_taken_out_and_its_units_go_to_the_other() -> None:
    watched = monitor()
    arms = [send(watched, i, {"new": "failed"}) for i in range(400)]
    assert watched.stops.stopped == {(NAME, "new")}
    last = max(i for i, arm in enumerate(arms) if arm == "new")
    assert last < 200
    (stop,) = watched.stops.of(NAME)
    assert (stop.guardrail, stop.bundle_digest) == ("error_rate", "1" * 64)
    assert "experiment.guardrails.error_rate_margin" in stop.reason
    view = view_of(watched, NAME)
    assert view is not None
    assert (view.arms["new"].weight, view.arms["old"].weight) == (0, 1)
    assert view.arms["new"].outcomes["failed"] == arms.count("new")
    assert view.arms["new"].guardrails["error_rate"] >= 1
    assert not view.sample_ratio.mismatch
    shown = watched._metrics.exposition().decode()
    assert f'cpfd_arm_stopped{{arm="new",experiment="{NAME}"}} 1.0' in shown
    assert f'cpfd_arm_stopped{{arm="old",experiment="{NAME}"}} 0.0' in shown


def test_where_nothing_stops_an_arm_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    watched = monitor(guardrails={"stop": False})
    for i in range(300):
        send(watched, i, {"new": "failed"})
    assert watched.stops.stopped == frozenset()
    assert [record.message[:40] for record in caplog.records] == ["a guardrail is broken, and nothing stops"]


@pytest.mark.parametrize("outcome", ["refused", "shed", "gone", "expired"])
def test_what_is_the_callers_doing_is_no_failure(outcome: str) -> None:
    watched = monitor()
    for i in range(300):
        send(watched, i, {"new": outcome})
    assert watched.stops.stopped == frozenset()
    assert watched.tallies[NAME].arms["new"].outcomes[outcome] > 100


def test_forced_requests_stop_nothing() -> None:
    watched = monitor()
    for i in range(300):
        send(watched, i, {"new": "failed"}, forced=True)
    assert watched.stops.stopped == frozenset()
    assert watched.tallies[NAME].arms["new"].outcomes == {}


def test_scores_of_supported_tasks_are_compared_with_the_reference() -> None:
    watched = monitor(reference())
    for i in range(400):
        send(watched, i, {})
    view = view_of(watched, NAME)
    assert view is not None
    assert set(view.arms["new"].guardrails) == {"error_rate", "p99", "shift:violence"}
    assert view.arms["new"].psi["violence"] > 2
    assert watched.tallies[NAME].shifts["new"].log_e("violence") > 20
    assert watched.stops.stopped == frozenset()  # the default arm's scores have moved as well
    assert 'guardrail="shift:violence"' in watched._metrics.exposition().decode()


def test_pairs_count_tasks_that_both_arms_support() -> None:
    watched = monitor()
    given = {"a": decision(flagged=True), "b": decision(flagged=True), "c": decision(flagged=True, supported=False)}
    shadow = {"a": decision(flagged=False), "b": decision(flagged=True), "c": decision(flagged=False)}
    watched.paired(NAME, "new", given, shadow)
    pairs = watched.tallies[NAME].pairs["new"]
    assert (dict(pairs.compared), pairs.disagreed.total()) == ({"a": 1, "b": 1}, 1)
    assert 'cpfd_shadow_disagreements_total{arm="new",task="a"} 1.0' in watched._metrics.exposition().decode()


def test_a_request_that_was_never_assigned_ends_without_a_trace() -> None:
    watched = monitor()
    watched.ended(RequestContext("r"), "refused")
    assert view_of(watched, "another") is None
