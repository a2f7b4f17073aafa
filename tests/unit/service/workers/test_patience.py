"""When a job is left alone, made to step back, and ended: by its signs of life, its CPU time, and who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.workers import patience as module
from service.workers.patience import Patience


@dataclass
class Scene:
    """A process that is none, its job, and what has happened to them.

    Attributes:
        cpu_s: what the process has taken.
        packets: how many it has come to.
        runs: whether it wants a core.
        others_wait, in_the_way, yields: what the job says.
    """

    cpu_s: float = 0.0
    packets: int = 0
    runs: bool = True
    others_wait: bool = False
    in_the_way: bool = False
    yields: bool = False
    happened: list[str] = field(default_factory=list)

    def run(self, script: Callable[[Patience, asyncio.Future[None]], None]) -> Patience:
        async def scenario() -> Patience:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            process = SimpleNamespace(
                pid=1,
                signs_of_life=lambda: self.packets.to_bytes(8, "little"),
                stop=lambda number: self.happened.append(f"stop {number}"),
                step_back=lambda: self.happened.append("step back"),
            )
            job = SimpleNamespace(
                done=done,
                number=7,
                fair_cpu_s=0.45,
                yields=self.yields,
                give_way=lambda: self.others_wait,
                in_the_way=lambda: self.in_the_way,
            )
            limit = SimpleNamespace(reschedule=lambda _: self.happened.append("end"))
            found = Patience(cast(Any, process), cast(Any, job))
            found.watch(cast(Any, limit))
            script(found, done)
            found.end()
            return found

        return asyncio.run(scenario())


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene()
    monkeypatch.setattr(module, "cpu_seconds", lambda _: made.cpu_s)
    monkeypatch.setattr(module, "runnable", lambda _: made.runs)
    monkeypatch.setattr(module, "_LOOK_S", 3600.0)
    return made


def leave(patience: Patience, done: asyncio.Future[None]) -> None:
    done.cancel()
    patience._left(done)


def test_who_makes_headway_is_left_alone_however_long_it_takes(scene: Scene) -> None:
    def script(patience: Patience, done: asyncio.Future[None]) -> None:
        for _ in range(100):
            scene.cpu_s += 0.2
            scene.packets += 1
            patience._look()
        assert scene.happened == []
        leave(patience, done)
        assert scene.happened == ["stop 7"]

    assert not scene.run(script).exhausted


def test_who_was_silent_for_longer_than_a_packet_takes_ends_with_its_callers_patience(scene: Scene) -> None:
    """The quarter of a second used to be counted from when the caller left."""

    def script(patience: Patience, done: asyncio.Future[None]) -> None:
        scene.packets += 1
        patience._look()
        scene.cpu_s += 0.6
        patience._look()
        assert scene.happened == []
        leave(patience, done)
        assert scene.happened == ["stop 7", "end"]

    assert scene.run(script).exhausted


def test_who_may_still_be_in_a_packet_is_given_the_time_for_it(scene: Scene) -> None:
    def script(patience: Patience, done: asyncio.Future[None]) -> None:
        scene.cpu_s += 0.2
        leave(patience, done)
        for _ in range(100):  # it waits for a core
            patience._look()
        assert scene.happened == ["stop 7"]
        scene.cpu_s += 0.2
        patience._look()
        assert scene.happened == ["stop 7", "end"]

    assert scene.run(script).exhausted


def test_who_sleeps_is_ended_and_not_blamed(scene: Scene) -> None:
    scene.runs = False

    def script(patience: Patience, done: asyncio.Future[None]) -> None:
        leave(patience, done)
        for _ in range(module._LOOKS - 2):
            patience._look()
        assert scene.happened == ["stop 7"]
        patience._look()
        assert scene.happened == ["stop 7", "end"]

    assert not scene.run(script).exhausted


def test_after_its_share_it_steps_back_once_others_wait_and_ends_unblamed_with_its_callers_patience(
    scene: Scene,
) -> None:
    def script(patience: Patience, done: asyncio.Future[None]) -> None:
        for cpu_s in (0.2, 0.4, 0.6):
            scene.cpu_s = cpu_s
            scene.packets += 1
            patience._look()
        assert scene.happened == []
        scene.others_wait = True
        patience._look()
        patience._look()
        assert scene.happened == ["step back"]
        leave(patience, done)
        assert scene.happened == ["step back", "stop 7", "end"]

    found = scene.run(script)
    assert found.stepped_back
    assert not found.exhausted


def test_who_is_in_the_way_is_ended_only_where_it_makes_no_headway(scene: Scene) -> None:
    scene.others_wait = scene.in_the_way = True

    def script(patience: Patience, done: asyncio.Future[None]) -> None:
        for _ in range(10):
            scene.cpu_s += 0.2
            scene.packets += 1
            patience._look()
        assert scene.happened == ["step back"]
        scene.cpu_s += 0.4
        patience._look()
        assert scene.happened == ["step back", "end"]
        assert not done.done()

    assert scene.run(script).exhausted


def test_who_is_stuck_gives_way_however_large_its_share(scene: Scene) -> None:
    """What a clip costs is what its container says."""
    scene.others_wait = True

    def script(patience: Patience, done: asyncio.Future[None]) -> None:
        cast(Any, patience._job).fair_cpu_s = 50.0
        scene.cpu_s += 0.6
        patience._look()
        assert scene.happened == ["step back"]

    assert scene.run(script).stepped_back


@pytest.mark.parametrize("yields", [True, False])
def test_who_yields_and_shows_no_sign_once_he_is_left_is_ended_soon(scene: Scene, yields: bool) -> None:
    """Others who yield wait for the one process that is theirs, and by what it is left it may take long to be stuck."""
    scene.yields = yields

    def script(patience: Patience, done: asyncio.Future[None]) -> None:
        leave(patience, done)
        for _ in range(8):
            patience._look()
        scene.packets += 1
        for _ in range(10):
            patience._look()
        assert scene.happened == ["stop 7"]
        patience._look()
        assert scene.happened == ["stop 7"] + ["end"] * yields

    assert not scene.run(script).exhausted


@pytest.mark.parametrize(
    ("yields", "cpu_s", "packets", "runs", "starved"),
    [
        (True, 0.1, 1, True, True),
        (True, 0.6, 1, True, False),  # it had the core
        (True, 0.1, 1, False, False),  # it did not want it
        (True, 0.4, 0, True, False),  # it is stuck
        (False, 0.1, 1, True, False),
    ],
)
def test_who_was_left_nothing_is_not_to_blame(
    scene: Scene, yields: bool, cpu_s: float, packets: int, runs: bool, starved: bool
) -> None:
    scene.yields, scene.runs = yields, runs

    def script(patience: Patience, done: asyncio.Future[None]) -> None:
        patience._began -= 1.0
        scene.cpu_s, scene.packets = cpu_s, packets
        patience._look()
        assert patience.starved() is starved

    scene.run(script)
