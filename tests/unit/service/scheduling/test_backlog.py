"""The backlog: yes, no, or when; by stage, by priority, and never on a guess."""

from __future__ import annotations

import contextlib

import pytest

from service.errors import DeadlineTooShort, Overloaded
from service.scheduling.bounds import most_requests
from service.scheduling.work import Work
from tests.unit.service.scheduling.door import Door, refusal


def test_what_cannot_be_in_time_is_refused_before_it_is_decoded() -> None:
    """720p clips with 1.5 s deadlines: all that were taken used to be killed half done."""
    door = Door(workers=2)
    taken = 0
    for _ in range(16):
        with contextlib.suppress(Overloaded):
            door.take(door.work(0.5, within_s=1.5))
            door.run()
            taken += 1
    assert taken == 6  # two at a time, half a second each
    assert door.sample("cpfd_shed_total", reason="late") == 10


def test_what_takes_longer_than_its_caller_allows_is_told_so_and_not_to_come_back() -> None:
    door = Door()
    with pytest.raises(DeadlineTooShort) as refused:
        door.take(door.work(2.0, within_s=1.0, model_s=0.1))
    assert "2100 ms" in refused.value.detail
    assert refused.value.retry_after_s is None


def test_a_deadline_that_is_only_too_short_for_now_is_told_when_to_come_back() -> None:
    """Work takes longer beside other work, so its price is no word on what it takes alone."""
    door = Door(workers=2)
    door.take(door.work(1.0))
    door.run()
    refusal(door, door.work(1.0, within_s=0.7))
    with pytest.raises(DeadlineTooShort):
        door.take(door.work(1.0, within_s=0.4))


def test_an_idle_pool_tries_what_may_just_be_in_time() -> None:
    door = Door()
    door.take(door.work(0.9, within_s=1.0, margin=2.0))
    door.run()
    door.take(door.work(0.9, within_s=1.0, margin=2.0))
    door.run()
    refusal(door, door.work(0.9, within_s=1.0, margin=2.0))


def test_nobody_is_refused_on_a_guess_but_guesses_are_counted() -> None:
    door = Door(workers=1)
    for _ in range(32):
        door.take(door.work(100.0, within_s=1.0, trusted=False))
    refusal(door, door.work(0.1, trusted=False))
    assert door.sample("cpfd_shed_total", reason="untrained") == 1


def test_retry_after_is_the_drain_time_of_the_backlog_not_of_an_average_request() -> None:
    """21.7 s of backlog used to answer 1."""
    door = Door(workers=1, max_s=22.0)
    for _ in range(31):
        door.take(door.work(0.7, within_s=60.0))
    assert door.backlog.drain_s() == pytest.approx(21.7)
    assert refusal(door, door.work(0.7, within_s=60.0, who="a")).retry_after_s == 22


def test_each_stage_has_its_own_backlog() -> None:
    door = Door(workers=2, lanes=1)
    for _ in range(4):
        door.take(door.work(1.0, model_s=0.25))
    assert door.backlog.stage_seconds() == {"decode": 2.0, "inference": 1.0}
    assert door.sample("cpfd_stage_seconds_of_work", stage="decode") == 2.0
    door.take(door.work(None, model_s=3.0))
    assert door.backlog.drain_s() == 4.0
    refusal(door, door.work(1.0, model_s=20.0, within_s=23.0))


def test_lanes_take_the_most_urgent_first_so_only_those_count_who_are_more_urgent() -> None:
    door = Door(workers=2, lanes=1)
    for _ in range(8):
        door.take(door.work(None, model_s=0.5, within_s=20.0))
    door.take(door.work(None, model_s=0.5, within_s=1.2))  # what is on the lane, and itself
    refusal(door, door.work(None, model_s=0.5, within_s=1.3))
    refusal(door, door.work(None, model_s=0.5, within_s=1.1))  # it would be in time, and the one before not
    assert door.sample("cpfd_shed_total", reason="late") == 1
    assert door.sample("cpfd_shed_total", reason="others_late") == 1
    door.take(door.work(None, model_s=0.5, within_s=1.8))
    refusal(door, door.work(None, model_s=0.5, within_s=5.0, bulk=True))


def test_a_text_does_not_wait_for_clips() -> None:
    door = Door(workers=1, max_s=5.0)
    for _ in range(5):
        door.take(door.work(1.0))
    refusal(door, door.work(1.0))
    door.take(door.work(None, model_s=0.01, within_s=0.1))


def test_nobody_who_was_told_yes_is_made_late() -> None:
    door = Door(workers=1)
    door.take(door.work(1.0, within_s=1.0))
    door.run()
    door.clock.now += 0.5
    tight = door.take(door.work(0.5, within_s=1.1))
    refusal(door, door.work(0.5, within_s=1.05))
    assert door.sample("cpfd_shed_total", reason="others_late") == 1
    door.take(door.work(0.5, within_s=1.6))
    assert door.backlog._waiting[0] is tight


def test_bulk_gives_way_to_interactive_and_has_half_of_the_backlog() -> None:
    door = Door(workers=1, max_s=4.0)
    gone: list[Work] = []
    door.backlog.displace = lambda work, error: gone.append(work) or door.backlog.withdraw(work)
    bulk = [door.take(door.work(1.0, within_s=3.2, bulk=True)) for _ in range(2)]
    refusal(door, door.work(1.0, within_s=60.0, bulk=True))
    first = door.take(door.work(1.0))
    assert door.backlog._waiting[0] is first
    door.take(door.work(1.0))
    assert gone
    assert set(gone) <= set(bulk)
    assert door.sample("cpfd_shed_total", reason="displaced") == len(gone)


def test_who_comes_back_as_told_finds_room_under_lasting_overload() -> None:
    """Three times what one worker can do, for a minute; every other one of those who are refused obeys."""
    door = Door(workers=1, max_s=5.0)
    returns: list[tuple[float, str]] = []
    kept = missed = 0
    for tick in range(600):
        door.clock.now += 0.1
        coming = [f"new {tick}.{i}" for i in range(3)] if tick % 2 else []
        due = [who for at, who in returns if at <= door.clock.now]
        returns = [(at, who) for at, who in returns if at > door.clock.now]
        for who in [*coming, *due]:
            work = door.work(0.2, within_s=8.0, who=who)
            try:
                door.backlog._accept(work)
                door.backlog.enqueue(work)
                kept += who in due
            except Overloaded as refused:
                missed += who in due
                if int(who.rpartition(".")[2]) != 1:
                    returns.append((door.clock.now + (refused.retry_after_s or 0), who))
        for running in list(door.backlog._running):
            if door.clock.now - running.began >= 0.199:
                door.backlog.leave(running)
                door.backlog.decoded(running)
        door.run()
    assert kept > 50
    assert kept >= 0.9 * (kept + missed)


def test_room_is_kept_for_those_whose_turn_is_due_but_never_all_of_it() -> None:
    door = Door(workers=1, max_s=5.0)
    for i in range(20):
        assert door.backlog.promises.promise(f"told {i}", 0.5, 0.0) >= 1
    door.clock.now += 1.0
    assert door.backlog.promises.due_s(5.0) > 4.0
    door.take(door.work(0.5, who="nothing is at work: newcomers are taken"))
    door.run()
    door.take(door.work(0.5, who="still next to nothing"))
    refusal(door, door.work(0.5, who="now it is others' turn"))
    assert door.sample("cpfd_shed_total", reason="backlog") == 1
    door.take(door.work(0.5, who="told 0"))
    assert door.sample("cpfd_retry_promises_total", outcome="kept") == 1


def test_who_can_not_be_let_in_at_any_price_is_turned_away_unseen_unless_it_is_his_turn() -> None:
    door = Door(workers=1, max_s=4.0)
    free, likely = (door.work(seconds, 20.0, bulk=True, who="newcomer") for seconds in (0.0, 1.0))
    door.backlog.turn_away(free, likely)  # nothing to do
    door.take(door.work(3.0))  # more than half of the bound
    with pytest.raises(Overloaded) as refused:
        door.backlog.turn_away(free, likely)
    assert door.sample("cpfd_shed_total", reason="backlog") == 1
    assert refused.value.retry_after_s is not None
    door.clock.now += refused.value.retry_after_s
    assert door.backlog.promises.is_due("newcomer")
    door.backlog.turn_away(free, likely)
    assert door.backlog.promises.is_due("newcomer")  # it is redeemed with his price
    assert not door.backlog.promises.is_due("somebody else")
    door.clock.now += 6.0
    assert not door.backlog.promises.is_due("newcomer")


def test_who_would_be_late_with_a_clip_that_takes_nothing_is_turned_away() -> None:
    door = Door(workers=1, max_s=100.0, shares_cores=True)
    door.take(door.work(0.1, model_s=1.0))
    door.run()
    free, likely = ((door.work(seconds, left_s, model_s=1.0) for left_s in (2.2, 2.0)) for seconds in (0.0, 0.1))
    door.backlog.turn_away(next(free), next(likely))
    with pytest.raises(Overloaded):
        door.backlog.turn_away(next(free), next(likely))
    assert door.sample("cpfd_shed_total", reason="late") == 1


def test_who_was_promised_this_turn_does_not_miss_it_for_want_of_a_worker() -> None:
    door = Door(workers=1)
    door.take(door.work(1.0))
    door.run()
    assert refusal(door, door.work(1.0, within_s=1.1, who="told")).retry_after_s == 1
    door.clock.now += 0.999
    for running in list(door.backlog._running):
        door.backlog.decoded(running)
        door.backlog.leave(running)
    door.take(door.work(1.0))
    door.run()
    refusal(door, door.work(1.0, within_s=1.1, who="stranger"))
    told = door.take(door.work(1.0, within_s=1.1, who="told"))
    assert door.run() is told


def test_what_is_left_leaves_queue_gauges_and_workers_at_once() -> None:
    door = Door(workers=1)
    runs, waits = door.work(1.0), door.work(1.0)
    with door.backlog.accepted(runs):
        door.backlog.enqueue(runs)
        assert door.run() is runs
        with door.backlog.accepted(waits):
            door.backlog.enqueue(waits)
            assert door.sample("cpfd_decode_queue_depth") == 1
            assert door.sample("cpfd_queue_seconds_of_work") == 2.0
        assert door.sample("cpfd_decode_queue_depth") == 0
    assert door.sample("cpfd_queue_seconds_of_work") == 0
    follows, last = door.take(door.work(1.0)), door.take(door.work(1.0))
    assert door.run() is follows  # by the spare worker, since nobody knows when the first one notices
    assert door.run() is None
    door.backlog.decoded(runs, whole=False)  # now it has
    door.backlog.decoded(follows)
    assert door.run() is last
    assert door.backlog.drain_s() == 1.0


def test_an_overdue_decode_counts_for_what_it_may_still_take() -> None:
    door = Door(workers=1)
    door.take(door.work(1.0))
    door.run()
    door.clock.now += 0.4
    assert door.backlog.drain_s() == pytest.approx(0.6)
    door.clock.now += 7.6
    assert door.backlog.drain_s() == pytest.approx(2.0)


@pytest.mark.parametrize("cores", [1, 2, 8, 64])
@pytest.mark.parametrize("price_s", [0.05, 0.3])
def test_the_signal_reaches_what_is_scaled_on_at_any_number_of_cores(cores: int, price_s: float) -> None:
    """A bound of 64 requests held it below its own target of 2 on 8 cores, and the alert at 8 was out of reach."""
    door = Door(workers=cores, lanes=cores)
    most = most_requests(cores, open_files=1 << 20)
    assert most * 0.01 / cores > 8  # requests of 10 ms, the cheapest honest ones, reach the alert too
    requests = 0
    with contextlib.suppress(Overloaded):
        while requests < most:
            door.take(door.work(price_s, within_s=60.0))
            requests += 1
    assert 8.0 < door.sample("cpfd_queue_seconds_of_work") <= 10.0 + price_s


@pytest.mark.parametrize(("cores", "files", "expected"), [(1, 1 << 20, 1024), (64, 1 << 20, 65536), (64, 1024, 192)])
def test_the_count_follows_cores_and_open_files(cores: int, files: int, expected: int) -> None:
    assert most_requests(cores, files) == expected
    assert most_requests(cores, 100) == 64
