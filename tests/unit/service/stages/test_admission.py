"""Admission: bounds on requests and bytes, honest Retry-After, permits given back once."""

from __future__ import annotations

import pytest

from service.errors import Draining, NotReady, Overloaded
from service.metrics import Metrics
from service.settings import AdmissionSettings
from service.stages.admission import Admission


def admission(refusal: Draining | NotReady | None = None, **bounds: int) -> Admission:
    return Admission(AdmissionSettings(**bounds), 2, lambda: refusal, Metrics())


def test_requests_are_bounded_and_a_permit_frees_its_place() -> None:
    door = admission(max_requests=2)
    with door.admit(1), door.admit(1):
        with pytest.raises(Overloaded) as refused:
            door.admit(1)
        assert refused.value.retry_after_s == 1
    with door.admit(1):
        assert (door.requests, door.bytes) == (1, 1)
    assert (door.requests, door.bytes) == (0, 0)


def test_bytes_are_bounded_and_settle_to_what_came() -> None:
    door = admission(max_bytes=100)
    with door.admit(90) as permit:
        with pytest.raises(Overloaded):
            door.admit(20)
        permit.settle(10)
        permit.settle(50)
        with door.admit(90):
            assert door.bytes == 100
    assert door.bytes == 0


def test_a_permit_is_given_back_once() -> None:
    door = admission()
    permit = door.admit(5)
    with permit:
        pass
    with permit:
        pass
    assert (door.requests, door.bytes) == (0, 0)


def test_retry_after_is_the_time_until_the_work_in_flight_is_done() -> None:
    door = admission(max_requests=10)
    door.observe(2.0)
    permits = [door.admit(0) for _ in range(10)]
    assert door.seconds_of_work() == pytest.approx(10.0)
    with pytest.raises(Overloaded) as refused:
        door.admit(0)
    assert refused.value.retry_after_s is not None
    assert 10 <= refused.value.retry_after_s <= 13
    for permit in permits:
        permit.__exit__(None, None, None)
    assert door.seconds_of_work() == 0


def test_nothing_is_taken_while_draining() -> None:
    with pytest.raises(Draining):
        admission(Draining("no")).admit(0)
