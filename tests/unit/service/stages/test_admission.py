"""Admission: bounds on requests and bytes, honest Retry-After, permits given back once."""

from __future__ import annotations

import pytest

from service.errors import Draining, NotReady, Overloaded
from service.metrics import Metrics
from service.settings import AdmissionSettings
from service.stages.admission import Admission


def admission(refusal: Draining | NotReady | None = None, **bounds: int) -> Admission:
    return Admission(
        AdmissionSettings.model_validate(bounds),
        lambda: refusal,
        lambda: Overloaded("later", retry_after_s=17),
        Metrics(),
    )


def test_requests_are_bounded_and_a_permit_frees_its_place() -> None:
    door = admission(max_requests=2)
    with door.admit(1), door.admit(1):
        with pytest.raises(Overloaded) as refused:
            door.admit(1)
        assert refused.value.retry_after_s == 17
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


def test_a_permit_that_was_given_back_settles_nothing() -> None:
    door = admission()
    permit = door.admit(5)
    with permit:
        pass
    permit.settle(1)
    assert (door.requests, door.bytes) == (0, 0)


def test_nothing_is_taken_while_draining() -> None:
    with pytest.raises(Draining):
        admission(Draining("no")).admit(0)


def test_the_count_follows_the_cores_unless_it_is_set() -> None:
    assert admission(max_requests=7).max_requests == 7
    assert admission().max_requests >= 64
