"""What counts as what."""

from __future__ import annotations

import pytest

from loadtest.measurement.samples import Outcome
from loadtest.target.exchange import Reply
from loadtest.target.outcomes import Judge
from loadtest.traffic.corpus import Expect
from loadtest.traffic.mix import PATH, Kind, Message
from tests.stub_service import problem, verdict


def message(expect: Expect, video_id: str | None = None) -> Message:
    return Message(Kind.FORM, PATH, b"", "video/mp4", video_id, expect)


def reply(answer: tuple[int, dict[str, str], bytes]) -> Reply:
    status, headers, body = answer
    return Reply(status, {name.lower(): value for name, value in headers.items()}, body)


RETRY = {"Retry-After": "3"}
CASES = [
    (Expect.VERDICT, reply(verdict("student")), Outcome.ANSWERED, "ok"),
    (Expect.EITHER, reply(verdict("student")), Outcome.ANSWERED, "ok"),
    (Expect.PROBLEM, reply(verdict("student")), Outcome.FAILED, "verdict_for_hostile"),
    (Expect.PROBLEM, reply(problem("corrupt_video", 422)), Outcome.REFUSED, "corrupt_video"),
    (Expect.EITHER, reply(problem("corrupt_video", 422)), Outcome.REFUSED, "corrupt_video"),
    (Expect.VERDICT, reply(problem("corrupt_video", 422)), Outcome.FAILED, "corrupt_video"),
    (Expect.PROBLEM, Reply(422, {"content-type": "text/plain"}, b"no"), Outcome.FAILED, "untyped_422"),
    (Expect.PROBLEM, Reply(502, {"content-type": "text/html"}, b"<html>"), Outcome.FAILED, "untyped_502"),
    (Expect.PROBLEM, reply(problem("internal_error", 500)), Outcome.FAILED, "internal_error"),
    (Expect.VERDICT, reply(problem("overloaded", 429, **RETRY)), Outcome.SHED, "overloaded"),
    (Expect.VERDICT, reply(problem("draining", 503, **RETRY)), Outcome.SHED, "draining"),
    (Expect.VERDICT, reply(problem("overloaded", 429)), Outcome.FAILED, "shed_without_retry_after"),
    (Expect.VERDICT, reply(problem("surprise", 503, **RETRY)), Outcome.FAILED, "surprise"),
    (Expect.VERDICT, reply(problem("deadline_exceeded", 504)), Outcome.FAILED, "deadline_exceeded"),
    (Expect.VERDICT, Reply(200, {}, b"[]"), Outcome.FAILED, "malformed_verdict"),
    (Expect.VERDICT, Reply(200, {"x-arm": "student"}, verdict("baseline")[2]), Outcome.FAILED, "malformed_verdict"),
    (Expect.VERDICT, Reply(0, fault="timeout"), Outcome.FAILED, "timeout"),
    (Expect.VERDICT, Reply(0, left=True), Outcome.GONE, "left"),
]


@pytest.mark.parametrize(("expect", "answer", "outcome", "code"), CASES)
def test_outcomes(expect: Expect, answer: Reply, outcome: Outcome, code: str) -> None:
    assert Judge().judge(message(expect), answer)[:2] == (outcome, code)


def test_an_id_stays_with_its_arm() -> None:
    judge = Judge()
    first = judge.judge(message(Expect.VERDICT, "clip"), reply(verdict("student")))
    assert first == (Outcome.ANSWERED, "ok", "student")
    other = judge.judge(message(Expect.VERDICT, "clip"), reply(verdict("baseline")))
    assert other == (Outcome.FAILED, "arm_changed", "baseline")


def test_a_failure_without_an_answer_is_laid_at_the_arm_that_the_id_sticks_to() -> None:
    judge = Judge()
    judge.judge(message(Expect.VERDICT, "clip"), reply(verdict("student")))
    assert judge.judge(message(Expect.VERDICT, "clip"), Reply(0, fault="timeout")).arm == "student"
    assert judge.judge(message(Expect.VERDICT, "new"), Reply(0, fault="timeout")).arm == "none"
