"""Shadows: after the reply, on an idle lane, given up for callers, written down, and told to nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from contract.bundle import Bundle, read_bundle
from contract.decision import Modality, decide
from contract.decision_log import Decision, Record
from contract.example import ModelInputs
from contract.input_spec import InputSpec, TextField
from service.experiment.arms import Arm
from service.experiment.configuration import Experiments
from service.experiment.plan import Plan, Units
from service.experiment.shadow import Given, Scavenger
from service.experiment.watch.monitor import Monitor
from service.metrics import Metrics
from service.settings import LaneSettings
from service.stages.inference import ArmModel, GaveWay, Lanes
from tests.synthetic_bundle import SPEC, write_synthetic_bundle
from tests.until import until

NAMES = ("old", "new")
TEXTS = {"title": "a cat in the park"}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    return {n: read_bundle(write_synthetic_bundle(folder / n, seed=i)) for i, n in enumerate(NAMES)}


@pytest.fixture(scope="module")
def models(bundles: dict[str, Bundle]) -> dict[str, ArmModel]:
    return {name: ArmModel(bundle, LaneSettings()) for name, bundle in bundles.items()}


class Sink:
    def __init__(self) -> None:
        self.records: list[Record] = []

    async def append(self, *records: Record) -> None:
        raise AssertionError("a shadow waits for no disk")

    def offer(self, *records: Record) -> None:
        self.records += records


class Bench:
    """A scavenger over two real models, a backlog of as many requests as one says, and lanes."""

    def __init__(
        self, bundles: dict[str, Bundle], models: dict[str, ArmModel], lanes: int = 2, **settings: Any
    ) -> None:
        sections = {
            "arms": [{"name": name, "bundle": name, "weight": 1} for name in NAMES],
            "experiment": {"shadow_rate": 1} | settings,
        }
        experiments = Experiments.model_validate(sections)
        self.plan, self.metrics, self.sink = Plan.of(experiments), Metrics(), Sink()
        self.monitor = Monitor(self.plan, experiments.experiment, bundles, self.metrics)
        self.arms = {name: Arm(name, bundles[name], models[name], None) for name in NAMES}  # type: ignore[arg-type]
        self.lanes, self.backlog = Lanes(lanes), SimpleNamespace(count=0)
        self.scavenger = Scavenger(
            experiments.experiment,
            SimpleNamespace(of=self.arms.__getitem__),  # type: ignore[arg-type]
            self.lanes,
            self.backlog,  # type: ignore[arg-type]
            self.monitor,
            self.sink,
            self.metrics,
        )

    def given(self, arm: str = "old", *, video: bool = True, texts: dict[str, str] = TEXTS, **changes: Any) -> Given:
        answered, rng = self.arms[arm], np.random.default_rng(1)
        pixels = rng.integers(0, 256, SPEC.frames_shape, np.uint8)
        text = answered.bundle.tokenizer.encode(texts)
        inputs = ModelInputs(pixels, (0.0, 1.0, 2.0, 3.0) if video else (), text, video_present=video)
        logits = {name: rows[0] for name, rows in answered.model.infer([inputs]).items()}
        manifest = answered.bundle.manifest
        read = ((Modality.VIDEO,) if video else ()) + (Modality.TEXT,)
        decisions = decide(logits, manifest.tasks, manifest.policy, frozenset(read))
        assignment = self.plan.assign(Units("0", "v"), _now())
        made = Given("0" * 32, replace(assignment, arm=arm), answered, inputs, None, texts, decisions, read)
        return replace(made, **changes)

    def outcomes(self, arm: str) -> dict[str, int]:
        found = {name: self.metrics.shadows.labels(arm, name)._value.get() for name in OUTCOMES}
        return {name: int(count) for name, count in found.items() if count}


OUTCOMES = ("attempted", "done", "shed", "skipped", "stopped", "failed")


def _now() -> datetime:
    return datetime.now(UTC)


def run(bench: Bench, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        bench.scavenger.start()
        try:
            async with asyncio.timeout(30):
                await body()
        finally:
            await bench.scavenger.close()
            bench.lanes.close()

    asyncio.run(whole())


def test_the_other_arm_reads_the_same_frames_and_is_written_down(
    bundles: dict[str, Bundle], models: dict[str, ArmModel]
) -> None:
    bench = Bench(bundles, models)
    given = bench.given("old")

    async def body() -> None:
        bench.scavenger.offer(given)
        await until(lambda: bool(bench.sink.records))

    run(bench, body)
    (record,) = bench.sink.records
    assert isinstance(record, Decision)
    assert (record.arm, record.shadow, record.decision_id) == ("new", True, given.decision_id)
    assert record.bundle_digest == bundles["new"].digest
    assert record.frame_times_ms == given.inputs.frame_times_ms
    expected = models["new"].infer([given.inputs])
    manifest = bundles["new"].manifest
    alone = decide(
        {name: rows[0] for name, rows in expected.items()},
        manifest.tasks,
        manifest.policy,
        frozenset(given.modalities),
    )
    assert {n: t.flag_score for n, t in record.tasks.items()} == {n: d.flag_score for n, d in alone.items()}
    assert bench.outcomes("new") == {"attempted": 1, "done": 1}
    assert bench.outcomes("old") == {}
    pairs = bench.monitor.tallies["baseline-vs-student"].pairs["new"]
    assert pairs.done == 1
    assert pairs.disagreed["violence"] == (alone["violence"].flagged != given.decisions["violence"].flagged)
    scores = bench.metrics.exposition().decode()
    assert "cpfd_score_count{" not in scores
    assert "cpfd_batch_size_count{" not in scores


@pytest.mark.parametrize(("lanes", "begins_below"), [(1, 1), (2, 1), (4, 3)])
def test_it_begins_only_where_a_core_is_left_for_who_comes_next(
    bundles: dict[str, Bundle], models: dict[str, ArmModel], lanes: int, begins_below: int
) -> None:
    bench = Bench(bundles, models, lanes)

    async def body() -> None:
        bench.backlog.count = begins_below
        bench.scavenger.offer(bench.given())
        await asyncio.sleep(0.1)
        assert bench.outcomes("new") == {"attempted": 1}
        bench.backlog.count = begins_below - 1
        await until(lambda: bench.outcomes("new") == {"attempted": 1, "done": 1})

    run(bench, body)


def test_it_takes_no_lane_that_is_held_and_never_queues_for_one(
    bundles: dict[str, Bundle], models: dict[str, ArmModel]
) -> None:
    bench = Bench(bundles, models, lanes=1)

    async def body() -> None:
        await bench.lanes.acquire()
        bench.scavenger.offer(bench.given())
        await asyncio.sleep(0.1)
        bench.lanes.free.release()
        await bench.lanes.acquire()  # at once: nobody stands before a caller
        bench.lanes.free.release()
        await until(lambda: bench.outcomes("new") == {"attempted": 1, "done": 1})

    run(bench, body)


@pytest.mark.parametrize("why", ["a batch waits", "the cores are needed"])
def test_it_gives_way_to_callers(
    bundles: dict[str, Bundle], models: dict[str, ArmModel], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(bundles, models)
    entered, needed = threading.Event(), threading.Event()

    def slow(example: ModelInputs, asks: Callable[[], bool], features: Any) -> Any:
        entered.set()
        needed.wait(10)
        if asks():
            raise GaveWay
        raise AssertionError("it did not give way")

    monkeypatch.setattr(models["new"], "infer_giving_way", slow)

    async def body() -> None:
        bench.scavenger.offer(bench.given())
        await until(entered.is_set)
        if why == "a batch waits":
            bench.lanes.waiting += 1
        else:
            bench.backlog.count = bench.lanes.count
        needed.set()
        await until(lambda: bench.outcomes("new") == {"attempted": 1, "shed": 1})
        assert not bench.lanes.free.locked()

    run(bench, body)
    assert bench.sink.records == []


def test_a_model_is_asked_before_each_graph_whether_it_is_in_the_way(
    bundles: dict[str, Bundle], models: dict[str, ArmModel]
) -> None:
    bench = Bench(bundles, models)
    inputs = bench.given().inputs
    with pytest.raises(GaveWay):
        models["new"].infer_giving_way(inputs, lambda: True)
    found = models["new"].infer_giving_way(inputs, lambda: False)
    expected = models["new"].infer([inputs])
    assert all((found[name] == rows[0]).all() for name, rows in expected.items())


def test_the_oldest_is_shed_where_there_is_no_room(bundles: dict[str, Bundle], models: dict[str, ArmModel]) -> None:
    bench = Bench(bundles, models, shadow_queue=2)

    async def body() -> None:
        bench.backlog.count = 9
        for i in range(5):
            bench.scavenger.offer(bench.given(decision_id=f"{i:032x}"))
        assert bench.outcomes("new") == {"attempted": 5, "shed": 3}
        bench.backlog.count = 0
        await until(lambda: bench.outcomes("new").get("done") == 2)

    run(bench, body)
    assert [int(record.decision_id, 16) for record in bench.sink.records] == [3, 4]  # type: ignore[attr-defined]


def test_an_arm_that_reads_other_frames_is_skipped_but_for_texts(
    bundles: dict[str, Bundle], models: dict[str, ArmModel], tmp_path: Path
) -> None:
    other = read_bundle(write_synthetic_bundle(tmp_path / "b", input_spec=InputSpec(frames=2, frame_size=32)))
    bench = Bench(bundles, models)
    bench.arms["new"] = Arm("new", other, ArmModel(other, LaneSettings()), None)  # type: ignore[arg-type]

    async def body() -> None:
        bench.scavenger.offer(bench.given())
        bench.scavenger.offer(bench.given(video=False))
        await until(lambda: bench.outcomes("new") == {"attempted": 2, "skipped": 1, "done": 1})

    run(bench, body)
    assert [record.modalities for record in bench.sink.records] == [("text",)]  # type: ignore[attr-defined]


def test_an_arm_that_reads_none_of_the_texts_is_skipped_and_the_next_is_not(
    bundles: dict[str, Bundle], models: dict[str, ArmModel], tmp_path: Path
) -> None:
    title = InputSpec(frames=4, frame_size=32, text_fields=(TextField(name="title", max_tokens=48),))
    other = read_bundle(write_synthetic_bundle(tmp_path / "b", input_spec=title))
    bench = Bench(bundles, models)
    bench.arms["new"] = Arm("new", other, ArmModel(other, LaneSettings()), None)  # type: ignore[arg-type]

    async def body() -> None:
        bench.scavenger.offer(bench.given(video=False, texts={"overlay_text": "a cat"}))
        bench.scavenger.offer(bench.given(video=False))
        await until(lambda: bench.outcomes("new") == {"attempted": 2, "skipped": 1, "done": 1})

    run(bench, body)


def test_stopped_arms_and_what_is_not_compared_get_none(
    bundles: dict[str, Bundle], models: dict[str, ArmModel]
) -> None:
    bench = Bench(bundles, models)
    given = bench.given()

    async def body() -> None:
        bench.scavenger.offer(replace(given, assignment=replace(given.assignment, forced=True)))
        bench.scavenger.offer(replace(given, assignment=replace(given.assignment, weights={}, holdout=True)))
        assert bench.outcomes("new") == {}
        bench.monitor.stops.stop("baseline-vs-student", "new", "p99", "slow")
        bench.scavenger.offer(given)
        assert bench.outcomes("new") == {"attempted": 1, "stopped": 1}

    run(bench, body)


def test_a_shadow_that_fails_ends_none_of_those_after_it(
    bundles: dict[str, Bundle], models: dict[str, ArmModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, real = Bench(bundles, models), models["new"].infer_giving_way
    calls = []

    def once(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("a defect")
        return real(*arguments)

    monkeypatch.setattr(models["new"], "infer_giving_way", once)

    async def body() -> None:
        bench.scavenger.offer(bench.given())
        bench.scavenger.offer(bench.given())
        await until(lambda: bench.outcomes("new") == {"attempted": 2, "failed": 1, "done": 1})
        assert not bench.lanes.free.locked()

    run(bench, body)


def test_a_share_of_the_answers_is_drawn(bundles: dict[str, Bundle], models: dict[str, ArmModel]) -> None:
    ids = [f"{i * 2**32 // 1000:08x}" + "0" * 24 for i in range(1000)]
    for rate in (0.0, 0.1, 1.0):
        bench = Bench(bundles, models, shadow_rate=rate)
        assert sum(bench.scavenger.wants(each) for each in ids) == pytest.approx(1000 * rate, abs=1)
        bench.lanes.close()


def test_an_equal_tower_is_not_run_again(
    bundles: dict[str, Bundle], models: dict[str, ArmModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(bundles, models)
    fed: list[Any] = []
    real = models["new"].infer_giving_way

    def spied(example: ModelInputs, needed: Callable[[], bool], features: Any) -> Any:
        fed.append(features)
        return real(example, needed)

    monkeypatch.setattr(models["new"], "infer_giving_way", spied)
    features = np.ones((2, 3), np.float32)

    async def body() -> None:
        for mine, other in (("same", "same"), ("same", "another"), (None, None)):
            monkeypatch.setattr(models["new"], "vision_digest", mine)
            monkeypatch.setattr(models["old"], "vision_digest", other)
            done = len(fed)
            bench.scavenger.offer(bench.given(features=features))
            await until(lambda done=done: len(fed) > done)  # type: ignore[misc]

    run(bench, body)
    assert [found is features for found in fed] == [True, False, False]
