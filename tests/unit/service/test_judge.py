"""judge(): an exposure comes before whatever an arm does with the clip."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from contract.errors import CorruptMedia
from service.context import RequestContext
from service.errors import Overloaded
from service.experiment.plan import Units
from service.judge import Judge
from service.metrics import Metrics
from service.scheduling.price import Price
from service.scheduling.work import Work


class Steps:
    """Stands for the assigner and the decoder, and keeps what was asked of them."""

    def __init__(self, *, recorded: bool = True, trusted: bool = False) -> None:
        self.asked: list[str] = []
        self.recorded = recorded
        guess = Price("unknown", 1.0, 1.0, 1.5, trusted=False)
        self.prices = SimpleNamespace(trusted=trusted, price=lambda cost, size: guess)

    def turn_away(self, least: Work, likely: Work) -> None:
        self.asked.append("turn away")
        assert (least.decode_s, likely.decode_s) == (0.0, 1.0)
        assert least.model_s == likely.model_s == 0.1
        raise Overloaded("no clip can be let in", retry_after_s=1)

    async def assign(self, units: Units, context: RequestContext, content: str, media: str | None) -> Any:
        await asyncio.sleep(0)
        self.asked.append(f"exposure of {units.video_id}, media {media}")
        if not self.recorded:
            raise Overloaded("the log is full")
        manifest = SimpleNamespace(input_spec=SimpleNamespace(digest=lambda: "spec", text_fields=()))
        tokenizer = SimpleNamespace(encode=lambda texts: texts)
        bundle = SimpleNamespace(digest="0" * 64, manifest=manifest, tokenizer=tokenizer)
        batcher = SimpleNamespace(expected_run_s=lambda with_video: 0.1)
        return SimpleNamespace(name="student", bundle=bundle, batcher=batcher)

    async def price(self, clip: Any, spec: Any) -> Any:
        self.asked.append("price")
        raise CorruptMedia("too little of it decodes")


def judged(steps: Steps, within_s: float = 1e6) -> None:
    async def body() -> None:
        judge = Judge(steps, steps, steps, Metrics())  # type: ignore[arg-type]
        upload: Any = SimpleNamespace(
            has_video=True,
            digest="d" * 64,
            size=1,
            texts={},
            units=Units("d" * 64, "v"),
            spool=SimpleNamespace(fileno=lambda: 0),
        )
        await judge.judge(upload, RequestContext("r", deadline=asyncio.get_running_loop().time() + within_s))

    asyncio.run(body())


def test_a_clip_that_is_refused_has_its_exposure_before() -> None:
    steps = Steps()
    with pytest.raises(CorruptMedia):
        judged(steps)
    assert steps.asked == [f"exposure of v, media {'d' * 64}", "price"]


def test_a_clip_is_not_looked_at_where_none_could_be_let_in() -> None:
    steps = Steps(trusted=True)
    with pytest.raises(Overloaded):
        judged(steps)
    assert steps.asked[1:] == ["turn away"]
    brief = Steps(trusted=True)
    with pytest.raises(CorruptMedia):  # whoever has too little time for any clip is told so by its price
        judged(brief, within_s=0.5)
    assert brief.asked[1:] == ["price"]


def test_a_clip_whose_exposure_cannot_be_recorded_is_not_looked_at() -> None:
    steps = Steps(recorded=False)
    with pytest.raises(Overloaded):
        judged(steps)
    assert len(steps.asked) == 1
