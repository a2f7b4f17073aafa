"""Who holds a core: a clip until its verdict where the model runs on the CPU, and nobody who has stepped back."""

from __future__ import annotations

import contextlib

import pytest

from service.errors import Overloaded
from service.scheduling.work import Work
from tests.unit.service.scheduling.door import Door, refusal


def test_on_shared_cores_a_clip_holds_one_until_its_verdict() -> None:
    """Decodes and batches side by side slow each other down, and nobody can foresee by how much."""
    door = Door(workers=2, shares_cores=True)
    freed: list[int] = []
    door.backlog.on_free = lambda: freed.append(door.backlog.count)
    with contextlib.ExitStack() as leaving:
        first = door.work(1.0, model_s=1.0)
        leaving.enter_context(door.backlog.accepted(first))
        door.backlog.enqueue(first)
        door.run()
        for _ in range(2):
            door.take(door.work(1.0, model_s=1.0))
        assert door.run() is not None
        assert door.run() is None
        door.clock.now += 0.75
        door.backlog.decoded(first)
        assert door.run() is None
        assert door.backlog.drain_s() == pytest.approx((1.0 + 1.25 + 2.0) / 2)
        assert freed == []
    assert freed == [2]
    assert door.run() is not None


def test_on_shared_cores_the_model_counts_as_the_decode_does() -> None:
    door = Door(workers=2, shares_cores=True)
    taken = 0
    for _ in range(16):
        with contextlib.suppress(Overloaded):
            door.take(door.work(0.25, within_s=1.5, model_s=0.25))
            door.run()
            taken += 1
    assert taken == 6


def test_on_shared_cores_texts_and_clips_add_up() -> None:
    door = Door(workers=2, lanes=2, shares_cores=True, max_s=100.0)
    for _ in range(4):
        door.take(door.work(1.0, model_s=1.0))
    for _ in range(100):
        door.take(door.work(None, model_s=0.04))
    assert door.backlog.drain_s() == pytest.approx((8.0 + 4.0) / 2)
    assert refusal(door, door.work(1.0, within_s=3.5, model_s=1.0)).retry_after_s == 6


def test_on_shared_cores_the_model_is_part_of_the_order_from_the_start() -> None:
    door = Door(workers=1, shares_cores=True)
    first = door.take(door.work(1.0, model_s=1.0))
    key = first.key
    door.backlog.reorder(first)
    assert first.key == key


def test_on_shared_cores_a_decode_that_is_begun_again_gives_its_core_back() -> None:
    door = Door(workers=1, shares_cores=True)
    lost = door.take(door.work(1.0, model_s=1.0))
    door.run()
    door.backlog.decoded(lost)
    door.backlog.enqueue(lost)
    assert door.run() is lost


def test_on_shared_cores_a_decode_that_is_broken_off_holds_none() -> None:
    """Its caller may have to wait until the worker that it ended is replaced."""
    door = Door(workers=1, shares_cores=True)
    broken = door.take(door.work(1.0, model_s=1.0))
    door.run()
    waiting = door.take(door.work(1.0, model_s=1.0))
    door.backlog.decoded(broken, whole=False)
    assert door.run() is waiting


def test_who_is_set_aside_leaves_his_place_to_those_who_wait_and_has_it_back_with_the_model() -> None:
    door = Door(workers=1, max_s=1000.0, shares_cores=True)
    door.backlog.most_set_aside = 1
    slow, waiting = door.take(door.work(5.0, 100.0, model_s=1.0)), door.take(door.work(5.0, 100.0, model_s=1.0))
    assert door.run() is slow
    assert door.run() is None
    assert door.backlog.set_aside(slow)
    assert door.run() is waiting
    assert not door.backlog.set_aside(waiting)  # nobody waits
    door.backlog.decoded(slow)
    other = door.take(door.work(5.0, 100.0, model_s=1.0))
    assert door.run() is None
    door.backlog.leave(slow)
    door.backlog.decoded(waiting)
    assert door.run() is None
    door.backlog.leave(waiting)
    assert door.run() is other


def test_who_comes_last_has_a_line_of_his_own_and_nobody_s_core() -> None:
    door = Door(workers=1, max_s=1000.0)
    urgent, last, other_last = (door.take(door.work(5.0, 100.0, last=last)) for last in (False, True, True))
    assert door.run() is urgent
    assert door.run(last=True) is last
    assert door.run(last=True) is None  # one after another
    waiting = door.take(door.work(5.0, 100.0))
    assert door.run() is None
    door.backlog.decoded(urgent)
    assert door.run() is waiting
    assert not door.backlog.set_aside(last)  # it is already
    assert door.backlog.waits(last=True)
    assert not door.backlog.waits()
    door.backlog.leave(last)  # its worker has it still
    assert door.run(last=True) is None
    door.backlog.decoded(last)
    assert door.run(last=True) is other_last
    assert not door.backlog.waits(last=True)


def test_nobody_steps_back_for_who_comes_last_nor_has_it_a_place_that_others_step_back_to() -> None:
    door = Door(workers=1, max_s=1000.0)
    door.backlog.most_set_aside = 1
    slow = door.take(door.work(5.0, 100.0))
    assert door.run() is slow
    door.take(door.work(5.0, 100.0, last=True))
    assert not door.backlog.set_aside(slow)
    assert door.run(last=True) is not None
    waiting = door.take(door.work(5.0, 100.0))
    assert door.backlog.set_aside(slow)
    assert door.run() is waiting


def test_of_those_who_come_last_one_at_a_time_has_a_core_and_only_while_the_model_runs() -> None:
    """Many small ones would else be decoded one after another, and wait for the model with a core each."""
    door = Door(workers=1, max_s=1000.0, shares_cores=True)
    last, other = (door.take(door.work(1.0, 100.0, model_s=1.0, last=True)) for _ in range(2))
    assert door.run(last=True) is last
    door.backlog.decoded(last)
    assert door.run(last=True) is None
    beside = door.take(door.work(1.0, 100.0, model_s=1.0))
    assert door.run() is beside
    door.backlog.decoded(beside)
    door.backlog.leave(beside)
    door.backlog.takes_lane(last)
    waiting = door.take(door.work(1.0, 100.0, model_s=1.0))
    assert door.run() is None
    door.backlog.leave(last)
    assert door.run() is waiting
    assert door.run(last=True) is other


def test_nobody_is_refused_or_told_to_wait_longer_for_the_sake_of_who_comes_last() -> None:
    door, without = Door(workers=1, max_s=10.0), Door(workers=1, max_s=10.0)
    sent_away: list[Work] = []
    door.backlog.displace = lambda work, _: sent_away.append(work)
    last = door.take(door.work(4.5, 100.0, model_s=0.5, last=True))
    assert door.backlog.drain_s() == 0
    for one in (door, without):
        one.take(one.work(2.0, 100.0, bulk=True))
        one.take(one.work(3.0, 100.0, model_s=0.4))
        assert one.run() is not None
    waits_s = [refusal(one, one.work(6.0, 100.0, bulk=True)).retry_after_s for one in (door, without)]
    assert waits_s[0] == waits_s[1]
    assert door.backlog.stage_seconds() == without.backlog.stage_seconds()
    assert sent_away == []
    assert last.rank == 2
    refusal(door, door.work(4.0, 100.0, last=True))  # of them half of the bound is taken


def test_who_comes_last_is_foreseen_in_his_own_line() -> None:
    door = Door(workers=2, max_s=1000.0)
    for _ in range(3):
        door.take(door.work(4.0, 100.0))
        door.run()
    first = door.take(door.work(1.0, 1.5, last=True))  # however long the others take
    assert door.run(last=True) is first
    refusal(door, door.work(1.0, 1.6, last=True))
    door.take(door.work(1.0, 2.5, last=True))


def test_no_room_is_kept_for_those_who_come_last() -> None:
    door = Door(workers=1, max_s=10.0)
    door.take(door.work(9.0, 100.0))
    refusal(door, door.work(6.0, 100.0, last=True, who="last"))
    assert door.backlog.promises.due_s(100.0) == 0
    refusal(door, door.work(4.0, 100.0, who="first"))
    assert door.backlog.promises.due_s(100.0) > 0


def test_no_more_are_set_aside_than_there_are_processes_to_spare() -> None:
    """Each holds a process: with all of them set aside everybody would be let in, and nobody begun."""
    door = Door(workers=2, max_s=1000.0)
    door.backlog.most_set_aside = 2
    for _ in range(8):
        door.take(door.work(4.0, within_s=100.0))
    begun = [work for work in (door.run(), door.run()) if work is not None]
    for _ in range(2):
        assert door.backlog.set_aside(begun[-2])
        again = door.run()
        assert again is not None
        begun.append(again)
        assert door.run() is None
    assert len(begun) == 4
    assert not door.backlog.set_aside(begun[-1])
    assert door.run() is None
    assert door.backlog.drain_s() == pytest.approx((4 * 4.0 + 2 * 4.0) / 2)


def test_nobody_is_set_aside_for_work_that_cannot_start_all_the_same() -> None:
    door = Door(workers=2, max_s=1000.0)
    door.backlog.most_set_aside = 2
    for bulk in (False, True, True):
        door.take(door.work(4.0, within_s=100.0, bulk=bulk))
    interactive, bulk_work = door.run(), door.run()
    assert interactive is not None
    assert not interactive.bulk
    assert bulk_work is not None
    assert door.run() is None  # bulk work leaves a worker to the others
    assert not door.backlog.set_aside(interactive)
    assert not interactive.set_aside
