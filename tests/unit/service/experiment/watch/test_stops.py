"""Stopped arms: here, in the file, and on every pod that reads it."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from pathlib import Path

import pytest

from service.errors import StartError
from service.experiment.stop_file import Stop, add_stops, read_stops
from service.experiment.watch.stops import Stops
from service.metrics import Metrics

DIGESTS = {"old": "0" * 64, "new": "1" * 64}
ARMS = [("e", "old"), ("e", "new")]


def pod(path: Path | None, digests: dict[str, str] = DIGESTS) -> Stops:
    return Stops(path, 0.01, digests, ARMS, Metrics())


def entry(arm: str, digest: str | None = None, experiment: str = "e") -> Stop:
    return Stop(
        experiment=experiment,
        arm=arm,
        bundle_digest=digest or DIGESTS[arm],
        guardrail="p99",
        reason="late",
        time_ms=1,
        pod="p",
    )


def stopped_gauge(stops: Stops, arm: str) -> float:
    value: float = stops._metrics.arm_stopped.labels("e", arm)._value.get()
    return value


def test_an_arm_is_stopped_here_at_once_and_on_other_pods_once_they_look(tmp_path: Path) -> None:
    first, second = pod(tmp_path / "stops.json"), pod(tmp_path / "stops.json")
    first.stop("e", "new", "p99", "late")
    assert first.stopped == {("e", "new")}
    assert stopped_gauge(first, "new") == 1
    assert [stop.reason for stop in first.of("e")] == ["late"]
    assert second.stopped == frozenset()
    asyncio.run(first.look())
    asyncio.run(second.look())
    assert second.stopped == {("e", "new")}
    assert [stop.guardrail for stop in second.of("e")] == ["p99"]
    assert pod(tmp_path / "stops.json").stopped == {("e", "new")}  # and after a restart


def test_an_operator_lets_it_run_again_by_the_file(tmp_path: Path) -> None:
    path, resumed = tmp_path / "stops.json", []
    first = pod(path)
    first.on_resume = lambda experiment, arm: resumed.append((experiment, arm))
    first.stop("e", "new", "p99", "late")
    asyncio.run(first.look())
    path.write_text('{"version": 1, "stopped": []}')
    asyncio.run(first.look())
    assert (first.stopped, resumed, stopped_gauge(first, "new")) == (frozenset(), [("e", "new")], 0)


def test_a_stop_is_of_a_bundle_and_of_an_experiment(tmp_path: Path) -> None:
    path = tmp_path / "stops.json"
    add_stops(path, [entry("new", "2" * 64), entry("old", experiment="another")])
    assert pod(path).stopped == frozenset()
    assert pod(path, DIGESTS | {"new": "2" * 64}).stopped == {("e", "new")}


def test_a_file_that_cannot_be_used_starts_no_arm_and_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "stops.json"
    first = pod(path)
    first.stop("e", "new", "p99", "late")
    asyncio.run(first.look())
    path.write_text("{")
    asyncio.run(first.look())
    first.stop("e", "old", "p99", "late")
    asyncio.run(first.look())
    assert first.stopped == {("e", "new"), ("e", "old")}
    assert first._metrics.stop_file_errors._value.get() == 2
    path.unlink()
    asyncio.run(first.look())  # what could not be written is written now
    assert [stop.arm for stop in read_stops(path)] == ["old"]


@pytest.mark.parametrize("path", ["none/stops.json", "bad.json"])
def test_the_service_does_not_start_on_a_file_that_it_could_not_use(tmp_path: Path, path: str) -> None:
    (tmp_path / "bad.json").write_text('{"version": 2}')
    with pytest.raises(StartError, match=r"experiment\.stop_file"):
        pod(tmp_path / path)


def test_without_a_file_an_arm_is_stopped_on_this_pod() -> None:
    alone = pod(None)
    alone.start()
    alone.stop("e", "new", "p99", "late")
    assert alone.stopped == {("e", "new")}


def test_the_poller_looks_and_is_woken(tmp_path: Path) -> None:
    async def body() -> None:
        slow = Stops(tmp_path / "stops.json", 3600, DIGESTS, ARMS, Metrics())
        slow.start()
        await asyncio.sleep(0.05)
        slow.stop("e", "new", "p99", "late")
        async with asyncio.timeout(10):
            while not read_stops(tmp_path / "stops.json"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await slow.close()

    asyncio.run(body())


def _add(path: Path, first: int) -> None:
    for i in range(10):
        add_stops(path, [entry("new", experiment=f"e{first + i}")])


def test_pods_that_write_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path, context = tmp_path / "stops.json", multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add, args=(path, 10 * i)) for i in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert {stop.experiment for stop in read_stops(path)} == {f"e{i}" for i in range(30)}
    assert json.loads(path.read_text())["version"] == 1
    assert sorted(found.name for found in tmp_path.iterdir()) == ["stops.json", "stops.json.lock"]
