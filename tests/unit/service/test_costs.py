"""What a request used: the decoder's own CPU seconds, its share of a batch; shared work is nobody else's cost."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from contract.errors import MediaError
from service.context import Progress
from service.decoding.answer import cpu_in
from service.metrics import Metrics
from service.scheduling.coalescing import Flight, Flights
from service.scheduling.policy import Priority
from service.scheduling.work import OneCaller, Work
from service.stages import microbatch
from service.stages.inference import Lanes
from service.stages.microbatch import MicroBatcher
from tests.synthetic_bundle import SPEC, write_clip
from tests.unit.service.stages.batching import Model, example, soon
from tests.unit.service.stages.decode.pools import opened, pool_of


@pytest.mark.parametrize("said", [None, "1", -0.1, float("nan"), float("inf"), 1e9, [1]])
def test_what_no_worker_uses_counts_as_nothing(said: Any) -> None:
    assert cpu_in({"cpu_s": said}) == 0.0
    assert cpu_in({}) == 0.0
    assert cpu_in({"cpu_s": 0.25}) == 0.25


def test_a_decode_is_paid_for_whether_it_brings_frames_or_a_refusal(tmp_path: Path) -> None:
    spent: dict[str, list[float]] = {"good": [], "refused": []}

    async def scenario() -> None:
        async with pool_of(Metrics()) as pool:

            async def decode(path: Path, name: str) -> None:
                with opened(path, name) as clip:
                    price = await pool.price(clip, SPEC)
                    now = time.monotonic()
                    work = Work(OneCaller(now + 20), now, price, 0.0)
                    with pool.backlog.accepted(work):
                        await pool.decode(clip, SPEC, work, lambda: None, spent[name].append)

            await decode(write_clip(tmp_path / "good.mp4"), "good")
            with pytest.raises(MediaError):
                await decode(broken(tmp_path), "refused")

    asyncio.run(scenario())
    assert len(spent["good"]) == len(spent["refused"]) == 1
    assert min(spent["good"] + spent["refused"]) > 0


def broken(folder: Path) -> Path:
    """A clip whose container is whole and whose pictures are not: only its decode says so."""
    path = write_clip(folder / "broken.mp4")
    data = bytearray(path.read_bytes())
    start, size = data.index(b"mdat") + 4, int.from_bytes(data[data.index(b"mdat") - 4 :][:4], "big")
    data[start + 700 : start + size - 8] = bytes(size - 708)
    path.write_bytes(data)
    return path


def test_each_clip_of_a_batch_bears_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.5])
    monkeypatch.setattr(microbatch, "thread_time", lambda: next(clock))
    found: list[float] = []

    async def scenario() -> None:
        lanes = Lanes(1)
        batcher = MicroBatcher("arm", Model().infer, 2, lanes, Metrics())
        waiting = [asyncio.ensure_future(batcher.submit(example(value), soon())) for value in (1, 2)]
        await asyncio.sleep(0)
        batcher.start()
        found.extend([answer.cpu_s for answer in await asyncio.gather(*waiting)])
        await batcher.close()
        lanes.close()

    asyncio.run(scenario())
    assert found == [0.25, 0.25]


def test_who_began_the_work_has_its_costs_and_who_shared_it_none() -> None:
    first, second = Progress(), Progress()

    async def work(flight: Flight[str]) -> str:
        flight.progress.spend("decode_cpu_s", 0.5)
        await asyncio.sleep(0.01)
        flight.progress.spend("decode_cpu_s", 0.25)
        return "done"

    async def scenario() -> None:
        flights: Flights[str] = Flights()
        until = time.monotonic() + 20, Priority.INTERACTIVE
        await asyncio.gather(*(flights.join("clip", None, until, progress, work) for progress in (first, second)))

    asyncio.run(scenario())
    assert (first.costs, second.costs) == ({"decode_cpu_s": 0.75}, {})
