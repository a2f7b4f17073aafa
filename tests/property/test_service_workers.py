"""Exactly one outcome for each caller of the decode pool, and his own, whatever leaves, crashes, hangs or drains."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contract.input_spec import InputSpec
from service.decoding.process import WorkerDied
from service.errors import DeadlineExceeded, DecodeCrashed, DecoderLost, DecodeTimeout, Draining, Overloaded
from service.metrics import Metrics
from service.scheduling.backlog import Backlog
from service.scheduling.policy import Priority
from service.scheduling.work import OneCaller, Work
from service.settings import DecodeSettings
from service.stages import decode as pool_module
from service.stages.decode import Clip, DecodePool
from service.workers import mending, processes
from tests.synthetic_bundle import SPEC

Kind = Literal["stays", "leaves", "crashes", "killed", "killed_once", "fails", "hangs"]
KINDS: tuple[Kind, ...] = ("stays", "stays", "stays", "leaves", "crashes", "killed", "killed_once", "fails", "hangs")


@dataclass(frozen=True)
class Caller:
    arrives_ms: int
    kind: Kind
    priority: Priority


CALLERS = st.lists(
    st.builds(Caller, st.integers(0, 8), st.sampled_from(KINDS), st.sampled_from(Priority)), min_size=1, max_size=14
)


class Fakes:
    """Processes that are none: what happens to a clip is what its caller says."""

    def __init__(self, callers: list[Caller], rng: random.Random) -> None:
        self.callers = callers
        self.rng = rng
        self.killed: set[int] = set()
        self.alive: list[FakeProcess] = []
        self.at_work = 0

    def process(self, *_: Any) -> FakeProcess:
        return FakeProcess(self)


class FakeProcess:
    pid = 1
    protections: ClassVar[dict[str, str | None]] = {}

    def __init__(self, fakes: Fakes) -> None:
        self._fakes = fakes
        self._stopped = 0
        self._number = -1
        self.exit_code: int | None = None

    async def ready(self) -> None:
        self._fakes.alive.append(self)

    def last_words(self) -> str:
        return "none"

    def stop(self, number: int) -> None:
        self._stopped = number

    def signs_of_life(self) -> bytes:
        return b""

    def step_back(self, *, idle: bool = False) -> None:
        pass

    def frames(self, spec: InputSpec) -> NDArray[np.uint8]:
        return np.full(spec.frames_shape, self._number, np.uint8)

    async def ask(self, job: dict[str, Any], descriptor: int) -> dict[str, Any]:
        await asyncio.sleep(self._fakes.rng.random() * 0.003)
        if job["task"] == "cost":
            return {"cost": None}
        self._number = descriptor
        kind = self._fakes.callers[descriptor].kind
        if kind == "killed_once" and descriptor not in self._fakes.killed:
            self._fakes.killed.add(descriptor)
            kind = "killed"
        if kind in ("crashes", "killed"):
            self.exit_code = -int(signal.SIGSEGV if kind == "crashes" else signal.SIGKILL)
            raise WorkerDied
        while kind == "hangs":
            await asyncio.sleep(0.001)
            if self._stopped == job["number"]:
                return {"stopped": True}
        if kind == "fails":
            return {"failed": "MemoryError"}
        return {
            "times_ms": [0.0] * SPEC.frames,
            "container": "mp4",
            "codec": str(descriptor),
            "width": 1,
            "height": 1,
            "duration_ms": 1,
        }

    async def end(self) -> None:
        if self in self._fakes.alive:
            self._fakes.alive.remove(self)


class FakeEnding:
    def __init__(self, _: int) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __enter__(self) -> FakeEnding:
        return self

    def __exit__(self, *_: object) -> None:
        self.gone.cancel()


async def finish(asked: Awaitable[Any], number: int) -> str:
    try:
        video = await asked
    except asyncio.CancelledError:
        return "left"
    except TimeoutError:
        return "gave_up"
    except (DecodeCrashed, DecoderLost, DecodeTimeout, Draining, Overloaded, DeadlineExceeded) as error:
        return error.code
    assert video.codec == str(number), "somebody else's clip"
    assert (video.pixels == number).all(), "somebody else's pixels"
    return "answered"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CALLERS, st.integers(1, 3), st.integers(1, 6), st.none() | st.integers(0, 12), st.integers(0, 99))
def test_each_caller_has_exactly_one_outcome_and_it_is_his(
    callers: list[Caller], workers: int, jobs_per_worker: int, closes_ms: int | None, seed: int
) -> None:
    fakes = Fakes(callers, random.Random(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "DecodeProcess", fakes.process)
        patch.setattr(processes, "Ending", FakeEnding)
        patch.setattr(processes, "_REAP_S", 0.0)
        patch.setattr(pool_module, "idle_time_is_free", lambda: True)
        patch.setattr(mending, "_PACE_S", 0.0)
        outcomes = asyncio.run(scenario(fakes, workers, jobs_per_worker, closes_ms))
    assert len(outcomes) == len(callers)
    for caller, outcome in zip(callers, outcomes, strict=True):
        allowed = {
            "stays": {"answered"},
            "leaves": {"answered", "left"},
            "crashes": {"decode_crashed"},
            "killed": {"decoder_lost"},
            "killed_once": {"answered"},
            "fails": {"decode_crashed"},
            "hangs": {"gave_up"},
        }[caller.kind]
        allowed = allowed | ({"overloaded"} if caller.priority.bulk else set())
        assert outcome in allowed | ({"draining"} if closes_ms is not None else set()), outcomes


async def scenario(fakes: Fakes, workers: int, jobs_per_worker: int, closes_ms: int | None) -> list[str]:
    metrics = Metrics()
    made = DecodeSettings(workers=workers, jobs_per_worker=jobs_per_worker, quarantine_after=9)
    backlog = Backlog(10.0, workers, 1, metrics)
    pool = DecodePool(made, 1, backlog, metrics)
    pool.start()

    async def ask(number: int, caller: Caller) -> Any:
        clip = Clip(number, f"clip {number}", 1000)
        price = await pool.price(clip, SPEC)
        now = asyncio.get_running_loop().time()
        work = Work(OneCaller(now + 60, caller.priority), now, price, 0.0)
        with backlog.accepted(work):
            async with asyncio.timeout(0.05 if caller.kind == "hangs" else None):
                return await pool.decode(clip, SPEC, work, lambda: None)

    async def call(number: int, caller: Caller) -> str:
        await asyncio.sleep(caller.arrives_ms / 1000)
        asked = asyncio.create_task(ask(number, caller))
        if caller.kind == "leaves":
            await asyncio.sleep(fakes.rng.random() * 0.006)
            asked.cancel()
        return await finish(asked, number)

    calls = [asyncio.create_task(call(i, caller)) for i, caller in enumerate(fakes.callers)]
    if closes_ms is not None:
        await asyncio.sleep(closes_ms / 1000)
        await pool.close()
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(*calls)
    await settle(lambda: closes_ms is not None or len(backlog._running) == 0)
    await pool.close()
    assert not fakes.alive
    assert backlog.drain_s() == 0
    assert not backlog._waiting
    assert not pool._decodes
    return outcomes


async def settle(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  polls what has no event
            await asyncio.sleep(0.001)
