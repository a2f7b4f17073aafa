"""Request ids, deadlines and stage timings."""

from __future__ import annotations

import time

import pytest

from service.context import RequestContext, deadline_of, request_id_of
from service.errors import DeadlineExceeded, InvalidField


@pytest.mark.parametrize("header", ["abc", "A-b_c.1:2", "x" * 128])
def test_a_sane_request_id_is_kept(header: str) -> None:
    assert request_id_of(header) == header


@pytest.mark.parametrize("header", [None, "", "x" * 129, "a b", "a\r\nSet-Cookie: x", "ä", '{"x":1}'])
def test_any_other_is_replaced(header: str | None) -> None:
    made = request_id_of(header)
    assert made != header
    assert len(made) == 32


def test_a_deadline_is_bounded() -> None:
    assert deadline_of(None, 100.0, 2000, 5000) == 102.0
    assert deadline_of("300", 100.0, 2000, 5000) == 100.3
    assert deadline_of("999999", 100.0, 2000, 5000) == 105.0


@pytest.mark.parametrize("header", ["0", "-1", "1.5", "", "ten", "٣", "9" * 10])
def test_a_bad_deadline_is_refused(header: str) -> None:
    with pytest.raises(InvalidField):
        deadline_of(header, 0.0, 1, 1)


def test_a_stage_is_timed_also_when_it_fails() -> None:
    context = RequestContext("r")
    with pytest.raises(KeyError), context.in_stage("fetch"):
        {}[time.sleep(0.002)]
    assert context.stage == "fetch"
    assert context.timings_ms["fetch"] >= 2


def test_a_stage_that_is_entered_again_adds_up() -> None:
    context = RequestContext("r")
    for seconds in (0.25, 0.5):
        context.record("decode", seconds)
    context.record("queue", 1.0)
    assert context.timings_ms == {"decode": 750.0, "queue": 1000.0}


def test_no_time_left() -> None:
    with pytest.raises(DeadlineExceeded):
        RequestContext("r", deadline=time.monotonic() - 1).remaining_s()
