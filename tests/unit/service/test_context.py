"""Request ids, deadlines, priorities and stage timings."""

from __future__ import annotations

import time

import pytest

from service.api.problem import outcome_of
from service.context import Progress, RequestContext, allowed_ms, priority_of, request_id_of
from service.errors import DeadlineExceeded, InvalidField
from service.scheduling.policy import Priority


@pytest.mark.parametrize("header", ["abc", "A-b_c.1:2", "x" * 128])
def test_a_sane_request_id_is_kept(header: str) -> None:
    assert request_id_of(header) == header


@pytest.mark.parametrize("header", [None, "", "x" * 129, "a b", "a\r\nSet-Cookie: x", "ä", '{"x":1}'])
def test_any_other_is_replaced(header: str | None) -> None:
    made = request_id_of(header)
    assert made != header
    assert len(made) == 32


def test_a_deadline_is_bounded() -> None:
    assert allowed_ms(None, 2000, 50, 5000) == 2000
    assert allowed_ms("300", 2000, 50, 5000) == 300
    assert allowed_ms("50", 2000, 50, 5000) == 50
    assert allowed_ms("999999", 2000, 50, 5000) == 5000
    assert allowed_ms(None, 9000, 50, 5000) == 5000


@pytest.mark.parametrize("header", ["0", "-1", "1.5", "", "ten", "٣", "9" * 10, "1", "20", "49"])
def test_a_bad_or_too_short_deadline_is_refused(header: str) -> None:
    """20 ms used to be taken, and to end a decode worker each time."""
    with pytest.raises(InvalidField):
        allowed_ms(header, 2000, 50, 5000)


def test_priorities_to_ask_for_are_two() -> None:
    assert priority_of(None) is Priority.INTERACTIVE
    assert priority_of("interactive") is Priority.INTERACTIVE
    assert priority_of(" Bulk ") is Priority.BULK
    for unknown in ("urgent", "last"):
        with pytest.raises(InvalidField, match="one of interactive, bulk"):
            priority_of(unknown)


def test_what_a_caller_asked_for_is_no_failure_of_the_service() -> None:
    assert outcome_of("deadline_exceeded") == "failed"
    assert outcome_of("deadline_exceeded", deadline_chosen=True) == "expired"
    assert outcome_of("inference_failed", deadline_chosen=True) == "failed"


def test_a_stage_is_timed_also_when_it_fails() -> None:
    context = RequestContext("r")
    with pytest.raises(KeyError), context.in_stage("fetch"):
        {}[time.sleep(0.002)]
    assert context.stage == "fetch"
    assert context.timings_ms["fetch"] >= 2


def test_a_stage_that_is_gone_through_again_took_both_times() -> None:
    context = RequestContext("r")
    context.record("decode", 0.25)
    context.record("decode", 0.5)
    assert context.timings_ms == {"decode": 750.0}


def test_one_stage_ends_where_the_next_begins() -> None:
    progress = Progress()
    with progress.in_stage("decode_wait"):
        progress.enter("decode")
        assert set(progress.timings_ms) == {"decode_wait"}
        assert set(progress.so_far()) == {"decode_wait", "decode"}
    assert set(progress.timings_ms) == {"decode_wait", "decode"}
    assert progress.so_far() == progress.timings_ms
    progress.leave()
    assert progress.stage == "decode"


def test_no_time_left() -> None:
    with pytest.raises(DeadlineExceeded):
        RequestContext("r", deadline=time.monotonic() - 1).remaining_s()
