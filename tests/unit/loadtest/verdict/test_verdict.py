"""Objectives -> verdict -> exit code: who is named, what passes, and when the generator is to blame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtest.measurement.samples import NO_ARM, UNSENT, Outcome, Sample, percentile
from loadtest.objectives import Objectives, ObjectivesError, read_objectives
from loadtest.shapes import make_plan
from loadtest.verdict.judge import ExitCode
from loadtest.verdict.results import Results, make_results
from tests.unit.loadtest.made_records import STEPS, make_record

LIMITS = {"p50_ms": 100, "p95_ms": 150, "p99_ms": 200, "error_rate": 0, "shed_rate": 0, "goodput_share": 0.95}


def objectives(**options: Any) -> Objectives:
    found = {"limits": LIMITS, "arms": {"baseline": {}, "student": {}}, "within_ms": 150}
    return Objectives.model_validate(found | options)


def results(change: Any = lambda sample: sample, asked: Objectives | None = None, **record: Any) -> Results:
    return make_results(STEPS, asked or objectives(), make_record(STEPS, change, **record), {})


def failed(found: Results) -> set[tuple[str, str]]:
    return {(check.scope, check.name) for check in found.verdict.checks if not check.passed}


def slow_student(sample: Sample) -> Sample:
    return replace(sample, latency_s=sample.latency_s + 0.4) if sample.arm == "student" else sample


def test_a_calm_run_passes_every_check() -> None:
    found = results()
    assert found.verdict.exit_code is ExitCode.PASSED
    assert failed(found) == set()
    assert found.verdict.capacity.per_s == STEPS.stages[-1].per_s


def test_a_slow_arm_is_named() -> None:
    found = results(slow_student)
    assert found.verdict.exit_code is ExitCode.FAILED
    assert {("arm student", "p50_ms"), ("arm student", "p95_ms")} < failed(found)
    assert not [scope for scope, _ in failed(found) if scope == "arm baseline"]


def test_arms_beside_each_other_need_no_absolute_limit() -> None:
    found = results(slow_student, objectives(limits={}, max_arm_ratio=3))
    assert failed(found) == {("arm student", "arm_ratio")}
    assert results(asked=objectives(limits={}, max_arm_ratio=3)).verdict.exit_code is ExitCode.PASSED


def test_an_arm_may_have_limits_of_its_own() -> None:
    found = results(slow_student, objectives(limits={"p95_ms": 600}, arms={"student": {"p95_ms": 300}}))
    assert failed(found) == {("arm student", "p95_ms")}


@pytest.mark.parametrize(
    ("outcome", "name"),
    [(Outcome.FAILED, "error_rate"), (Outcome.SHED, "shed_rate"), (Outcome.FAILED, "goodput_share")],
)
def test_errors_and_shed_are_counted(outcome: Outcome, name: str) -> None:
    found = results(lambda s: replace(s, outcome=outcome) if int(s.at_s * 100) % 10 == 0 else s)
    assert ("all requests", name) in failed(found)


def test_clients_who_leave_count_for_nothing() -> None:
    found = results(lambda s: replace(s, outcome=Outcome.GONE, latency_s=9) if int(s.at_s * 100) % 10 == 0 else s)
    assert found.verdict.exit_code is ExitCode.PASSED
    assert found.overall.gone > 0


def test_an_arm_that_must_be_seen_and_is_not() -> None:
    assert failed(results(asked=objectives(arms={"third": {}}))) == {("arm third", "answered")}


def test_a_test_that_saw_nothing_does_not_pass() -> None:
    found = results(lambda s: replace(s, outcome=Outcome.FAILED, arm=NO_ARM, code="connection_refused"))
    assert found.verdict.exit_code is ExitCode.FAILED
    assert {("all requests", "answered"), ("all requests", "p50_ms"), ("arm student", "answered")} < failed(found)


def test_only_the_judged_stages_are_asked() -> None:
    def late_when_high(sample: Sample) -> Sample:
        return replace(sample, latency_s=3.0) if sample.stage >= 3 else sample

    found = results(late_when_high, objectives(judged={"up_to_load": 0.75}, min_capacity_per_s=30))
    assert found.verdict.exit_code is ExitCode.PASSED
    assert found.verdict.capacity.per_s == 30
    assert [stage.judged for stage in found.stages] == [True] * 3 + [False] * 3
    assert failed(results(late_when_high, objectives(judged={"up_to_per_s": 30}, min_capacity_per_s=31))) == {
        ("all requests", "capacity_per_s")
    }
    with pytest.raises(ObjectivesError, match="lowest rate is 10/s"):
        objectives(judged={"up_to_per_s": 5}).judges(make_plan("steps", per_s=40, seconds=6))


def test_a_miss_that_the_generator_may_have_made_is_inconclusive() -> None:
    found = results(lambda s: replace(s, latency_s=s.latency_s + 0.3, late_s=0.3), lag_s=0.3)
    assert found.verdict.exit_code is ExitCode.INCONCLUSIVE
    assert "lag" in found.verdict.generator_reasons[0]


def test_a_miss_beyond_what_the_generator_can_have_made_stands() -> None:
    found = results(lambda s: replace(s, latency_s=s.latency_s + 5, late_s=0.3), lag_s=0.3)
    assert found.verdict.generator_reasons
    assert found.verdict.exit_code is ExitCode.FAILED


def test_a_miss_while_the_generator_kept_its_own_limits_is_the_services() -> None:
    asked = objectives(limits={}, arms={"student": {"goodput_share": 1.0}}, within_ms=100)
    found = results(lambda s: replace(s, latency_s=s.latency_s + 0.06, late_s=0.05), asked)
    assert found.verdict.generator_reasons == ()
    assert failed(found) == {("arm student", "goodput_share")}
    assert found.verdict.exit_code is ExitCode.FAILED


def test_a_busy_generator_does_not_spoil_a_pass() -> None:
    found = results(cpu_share=0.95)
    assert found.verdict.generator_reasons == ("it used 95% of a core (limit 85%)",)
    assert found.verdict.exit_code is ExitCode.PASSED


def test_requests_that_were_not_sent_are_the_generators() -> None:
    def unsent(sample: Sample) -> Sample:
        lost = replace(sample, outcome=Outcome.FAILED, code=UNSENT, arm=NO_ARM, status=0)
        return lost if int(sample.at_s * 100) % 10 == 0 else sample

    found = results(unsent)
    assert found.verdict.exit_code is ExitCode.INCONCLUSIVE
    assert "not sent" in found.verdict.generator_reasons[0]


def test_the_committed_objectives_are_read(objectives_path: Path) -> None:
    found = read_objectives(objectives_path)
    assert found.limits_of("student").error_rate == 0
    assert set(found.arms) == {"baseline", "student"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("limits: {p95: 3}", "limits.p95"),
        ("limits: {error_rate: 2}", "limits.error_rate"),
        ("judged: {up_to_load: 1, up_to_per_s: 1}", "not both"),
        ("[", "objectives.yaml"),
        ("- 1", "objectives.yaml"),
    ],
)
def test_a_typo_is_refused(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "objectives.yaml").write_text(text)
    with pytest.raises(ObjectivesError, match=named):
        read_objectives(tmp_path / "objectives.yaml")
    with pytest.raises(ObjectivesError, match=r"gone\.yaml"):
        read_objectives(tmp_path / "gone.yaml")


def test_percentiles_are_by_nearest_rank() -> None:
    assert [percentile([4, 1, 3, 2], share) for share in (0.25, 0.5, 0.51, 1.0)] == [1, 2, 3, 4]
    assert percentile([], 0.5) != percentile([], 0.5)
