"""Whose work comes last, for how long, and who is never to blame."""

from __future__ import annotations

import pytest

from service.scheduling.standing import Standing
from tests.unit.service.scheduling.test_estimate import Clock

RUDE, HONEST = "192.0.2.1", "192.0.2.2"


def standing(limit_s: float = 2.0, entries: int = 4096) -> tuple[Standing, Clock]:
    clock = Clock()
    return Standing(limit_s, entries, clock), clock


def test_who_leaves_most_of_the_time_comes_last_as_long_as_others_come() -> None:
    peers, clock = standing()
    peers.ended(RUDE, "client_gone", {"decode": 2500.0, "price": 9000.0})
    assert not peers.goes_last(RUDE)  # nobody else is there
    assert not peers.goes_last(HONEST)
    assert peers.goes_last(RUDE)
    clock.now += 11.0
    assert not peers.goes_last(RUDE)


def test_a_little_is_forgiven_and_all_of_it_in_time() -> None:
    peers, clock = standing()
    peers.ended(RUDE, "client_gone", {"decode": 1500.0, "inference": 400.0})
    peers.goes_last(HONEST)
    assert not peers.goes_last(RUDE)
    peers.ended(RUDE, "client_gone", {"decode": 200.0})
    assert peers.goes_last(RUDE)
    clock.now += 5.0
    peers.goes_last(HONEST)
    assert not peers.goes_last(RUDE)


def test_by_the_clock_who_came_last_is_not_judged() -> None:
    """His decode took as long as others had the cores."""
    peers, _ = standing()
    peers.goes_last(HONEST)
    for _ in range(3):
        peers.ended(RUDE, "client_gone", {"decode": 9000.0}, last=True)
    assert not peers.goes_last(RUDE)
    for _ in range(3):
        peers.ended(RUDE, "ok", {"decode": 9000.0}, last=True)
    peers.ended(RUDE, "client_gone", {"decode": 900.0})
    assert peers.goes_last(RUDE)  # nor was he answered with more


def test_of_a_proxy_the_honest_weigh_against_the_rude() -> None:
    peers, _ = standing()
    peers.ended(RUDE, "ok", {"decode": 9000.0})
    peers.ended(RUDE, "client_gone", {"decode": 8000.0})
    peers.goes_last(HONEST)
    assert not peers.goes_last(RUDE)
    peers.ended(RUDE, "client_gone", {"decode": 1100.0})
    assert peers.goes_last(RUDE)


@pytest.mark.parametrize("code", ["decode_crashed", "decode_timeout"])
def test_a_clip_that_ends_its_worker_costs_the_next_worker_too(code: str) -> None:
    peers, _ = standing(limit_s=0.4)
    peers.goes_last(HONEST)
    peers.ended(RUDE, code, {"decode": 50.0})
    assert not peers.goes_last(RUDE)
    for _ in range(2):
        peers.ended(RUDE, code, {})
    assert peers.goes_last(RUDE)


@pytest.mark.parametrize(
    "code", ["deadline_exceeded", "overloaded", "broken_video", "quarantined_video", "decoder_lost"]
)
def test_what_the_service_decides_is_nobodys_waste(code: str) -> None:
    peers, _ = standing()
    peers.goes_last(HONEST)
    for _ in range(9):
        peers.ended(RUDE, code, {"decode": 9000.0})
    assert not peers.goes_last(RUDE)


def test_a_limit_of_zero_forgives_all() -> None:
    peers, _ = standing(limit_s=0.0)
    peers.goes_last(HONEST)
    peers.ended(RUDE, "client_gone", {"decode": 90_000.0})
    assert not peers.goes_last(RUDE)


def test_a_deadline_that_the_caller_chose_and_that_was_too_short_is_his_waste() -> None:
    peers, _ = standing()
    peers.goes_last(HONEST)
    peers.ended(RUDE, "deadline_exceeded", {"decode": 2100.0}, deadline_chosen=True)
    assert peers.goes_last(RUDE)


def test_no_more_peers_are_remembered_than_there_is_room_for_and_the_rude_longest() -> None:
    peers, _ = standing(entries=2)
    peers.ended(RUDE, "client_gone", {"decode": 9000.0})
    for number in range(9):
        peers.goes_last(f"198.51.100.{number}")  # who only asks is not remembered
        peers.ended(f"198.51.100.{number}", "ok", {"decode": 100.0})
    assert len(peers._accounts) == 2
    assert peers.goes_last(RUDE)
    for number in range(2):
        peers.ended(f"203.0.113.{number}", "client_gone", {"decode": 9000.0})
    assert len(peers._accounts) == 2
