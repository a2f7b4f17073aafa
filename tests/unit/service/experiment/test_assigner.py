"""The assigner: an exposure is recorded before anything else, and what it says; who may choose an arm."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from contract.decision_log import Exposure, Record, name_hash
from service.context import RequestContext
from service.errors import InvalidField, NotReady, Overloaded, Unauthorized
from service.experiment.assigner import Assigner, forced_arm
from service.experiment.configuration import Experiments
from service.experiment.plan import Plan, Units
from service.experiment.watch.monitor import Monitor
from service.metrics import Metrics

TOKEN = SecretStr("a token of sixteen and more")
CONTENT, MEDIA = "c" * 64, "d" * 64


class Sink:
    def __init__(self, error: Exception | None = None) -> None:
        self.records: list[Record] = []
        self.error = error

    async def append(self, *records: Record) -> None:
        if self.error is not None:
            raise self.error
        self.records += records

    def offer(self, *records: Record) -> None:
        raise AssertionError("an exposure is waited for")


def desk(sink: Sink, *, ready: bool = True, **settings: Any) -> tuple[Assigner, Monitor]:
    arms = [{"name": name, "bundle": name, "weight": 1} for name in ("old", "new")]
    experiments = Experiments.model_validate({"arms": arms, "experiment": settings})
    plan = Plan.of(experiments)
    bundles: Any = {name: SimpleNamespace(digest=f"{i}" * 64, reference=None) for i, name in enumerate(plan.arms)}

    def of(name: str) -> Any:
        if not ready:
            raise NotReady("starting")
        return SimpleNamespace(name=name, bundle=bundles[name])

    monitor = Monitor(plan, experiments.experiment, bundles, Metrics())
    return Assigner(plan, SimpleNamespace(of=of), monitor, sink), monitor  # type: ignore[arg-type]


def assigned(sink: Sink, units: Units, context: RequestContext | None = None, **settings: Any) -> Exposure:
    assigner, _ = desk(sink, **settings)
    context = context or RequestContext("r")
    arm = asyncio.run(assigner.assign(units, context, CONTENT, MEDIA))
    (record,) = sink.records
    assert isinstance(record, Exposure)
    assert arm.name == context.arm == record.arm
    assert record.decision_id == context.decision_id
    return record


def test_an_exposure_says_who_met_which_arm_and_names_nobody() -> None:
    record = assigned(Sink(), Units(CONTENT, "video", "account"), unit="account_id")
    assert (record.experiment, record.unit, record.unit_hash) == (
        "baseline-vs-student",
        "account_id",
        name_hash("account"),
    )
    assert (record.video_hash, record.content_digest, record.media_digest) == (name_hash("video"), CONTENT, MEDIA)
    assert (record.forced, record.holdout) == (False, False)
    assert "account" not in record.model_dump_json().replace("account_id", "")


def test_forced_and_held_out_requests_are_marked() -> None:
    forced = assigned(Sink(), Units(CONTENT, "v"), RequestContext("r", forced_arm="new"))
    assert (forced.arm, forced.forced, forced.holdout) == ("new", True, False)
    held = assigned(Sink(), Units(CONTENT, "v"), holdout=0.9999, default_arm="new")
    assert (held.arm, held.forced, held.holdout) == ("new", False, True)


def test_a_request_outside_every_experiment_is_recorded_as_such() -> None:
    record = assigned(Sink(), Units(CONTENT, "v"), unit="account_id")
    assert (record.experiment, record.arm, record.unit, record.unit_hash) == ("none", "old", "video_id", name_hash("v"))


def test_what_cannot_be_recorded_goes_no_further() -> None:
    assigner, _ = desk(Sink(Overloaded("the log is full")))
    with pytest.raises(Overloaded):
        asyncio.run(assigner.assign(Units(CONTENT, "v"), RequestContext("r"), CONTENT, None))


def test_an_arm_that_is_not_loaded_is_no_exposure() -> None:
    sink = Sink()
    assigner, monitor = desk(sink, ready=False)
    context = RequestContext("r")
    with pytest.raises(NotReady):
        asyncio.run(assigner.assign(Units(CONTENT, "v"), context, CONTENT, None))
    assert (sink.records, context.assignment) == ([], None)
    assert sum(arm.requests for arm in monitor.tallies["baseline-vs-student"].arms.values()) == 0


def test_a_stopped_arm_is_not_met_but_by_force() -> None:
    sink = Sink()
    assigner, monitor = desk(sink)
    monitor.stops.stop("baseline-vs-student", "new", "p99", "late")
    for i in range(30):
        asyncio.run(assigner.assign(Units(CONTENT, str(i)), RequestContext("r"), CONTENT, None))
    assert {record.arm for record in sink.records} == {"old"}  # type: ignore[attr-defined]
    forced = RequestContext("r", forced_arm="new")
    asyncio.run(assigner.assign(Units(CONTENT, "v"), forced, CONTENT, None))
    assert forced.arm == "new"


@pytest.mark.parametrize("shown", [None, "", "Bearer", "Bearer wrong", TOKEN.get_secret_value(), "Bearer \u00e4"])
@pytest.mark.parametrize("secret", [None, TOKEN])
def test_nobody_chooses_an_arm_without_the_token(shown: str | None, secret: SecretStr | None) -> None:
    plan = Plan.of(Experiments())
    assert forced_arm(None, shown, secret, plan) is None
    with pytest.raises(Unauthorized) as refused:
        forced_arm("student", shown, secret, plan)
    assert TOKEN.get_secret_value() not in refused.value.detail


def test_with_the_token_one_chooses_among_the_arms_there_are() -> None:
    plan, shown = Plan.of(Experiments()), f"Bearer {TOKEN.get_secret_value()}"
    assert forced_arm("student", shown, TOKEN, plan) == "student"
    with pytest.raises(InvalidField, match="baseline, student"):
        forced_arm("nobody", shown, TOKEN, plan)
