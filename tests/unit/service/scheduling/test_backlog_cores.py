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


def test_who_comes_last_has_a_process_to_spare_and_nobody_s_core() -> None:
    door = Door(workers=1, max_s=1000.0)
    door.backlog.most_set_aside = 2
    urgent, last, other_last = (door.take(door.work(5.0, 100.0, last=last)) for last in (False, True, True))
    assert door.run() is urgent
    assert door.run() is last
    assert door.run() is None  # one of them is enough
    waiting = door.take(door.work(5.0, 100.0))
    assert door.run() is None
    door.backlog.decoded(urgent)
    assert door.run() is waiting
    assert not door.backlog.set_aside(last)  # it is already
    door.backlog.decoded(waiting)
    assert door.run() is None
    door.backlog.leave(last)  # its worker has it still
    assert door.run() is None
    door.backlog.decoded(last)
    assert door.run() is other_last


def test_nobody_steps_back_for_who_comes_last() -> None:
    door = Door(workers=1, max_s=1000.0)
    door.backlog.most_set_aside = 1
    slow = door.take(door.work(5.0, 100.0))
    assert door.run() is slow
    door.take(door.work(5.0, 100.0, last=True))
    assert not door.backlog.set_aside(slow)
    waiting = door.take(door.work(5.0, 100.0))
    assert door.backlog.set_aside(slow)
    assert door.run() is waiting
    assert door.run() is None  # and where it has, no process is left to spare


def test_who_comes_last_holds_a_core_for_the_model_as_others_do() -> None:
    door = Door(workers=1, max_s=1000.0, shares_cores=True)
    door.backlog.most_set_aside = 1
    last = door.take(door.work(1.0, 100.0, model_s=1.0, last=True))
    assert door.run() is last
    door.backlog.decoded(last)
    waiting = door.take(door.work(1.0, 100.0, model_s=1.0))
    assert door.run() is None
    door.backlog.leave(last)
    assert door.run() is waiting


def test_bulk_work_is_not_refused_for_the_sake_of_work_that_comes_last() -> None:
    door = Door(workers=1, max_s=1000.0)
    sent_away: list[Work] = []
    door.backlog.displace = lambda work, _: sent_away.append(work)
    door.take(door.work(5.0, 100.0))
    assert door.run() is not None
    last = door.take(door.work(1.0, 7.0, last=True))
    door.take(door.work(5.0, 100.0, bulk=True))
    assert sent_away == [last]


def test_no_room_is_kept_for_those_who_come_last() -> None:
    door = Door(workers=1, max_s=10.0)
    door.take(door.work(9.0, 100.0))
    refusal(door, door.work(4.0, 100.0, last=True, who="last"))
    assert door.backlog.promises.due_s(100.0) == 0
    refusal(door, door.work(4.0, 100.0, who="first"))
    assert door.backlog.promises.due_s(100.0) > 0


def test_what_comes_last_fills_the_backlog_for_nobody_else() -> None:
    door = Door(workers=1, max_s=10.0)
    assert door.take(door.work(4.0, 100.0, last=True)).rank == 2
    bulk = door.take(door.work(4.0, 100.0, bulk=True))  # with the other there would be more than half of the bound
    assert bulk.bulk
    refusal(door, door.work(4.0, 100.0, last=True))


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
