"""A backlog under test, and what knocks at it."""

from __future__ import annotations

import contextlib

import pytest

from service.errors import Overloaded
from service.metrics import Metrics
from service.scheduling.backlog import Backlog
from service.scheduling.policy import Priority
from service.scheduling.price import Price
from service.scheduling.work import OneCaller, Work
from tests.unit.service.scheduling.test_estimate import Clock


class Door:
    """A backlog with a clock of its own."""

    def __init__(self, workers: int = 2, lanes: int = 2, max_s: float = 10.0, *, shares_cores: bool = False) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.backlog = Backlog(max_s, workers, lanes, self.metrics, self.clock, shares_cores=shares_cores)
        self.held = contextlib.ExitStack()

    def work(
        self,
        decode_s: float | None = 1.0,
        within_s: float = 20.0,
        *,
        model_s: float = 0.0,
        bulk: bool = False,
        last: bool = False,
        who: str | None = None,
        trusted: bool = True,
        margin: float = 1.0,
    ) -> Work:
        priority = Priority.LAST if last else Priority.BULK if bulk else Priority.INTERACTIVE
        urgency = OneCaller(self.clock.now + within_s, priority)
        price = Price("h264", 1.0, decode_s, margin, trusted) if decode_s is not None else None
        return Work(urgency, self.clock.now, price, model_s, who, model_margin=1.0)

    def take(self, work: Work) -> Work:
        """Accepted, and waiting for a worker if there is something to decode."""
        self.held.enter_context(self.backlog.accepted(work))
        if work.price is not None:
            self.backlog.enqueue(work)
        return work

    def run(self, *, last: bool = False) -> Work | None:
        work = self.backlog.next_last() if last else self.backlog.next_to_start()
        if work is not None:
            self.backlog.begin(work)
        return work

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def refusal(door: Door, work: Work) -> Overloaded:
    with pytest.raises(Overloaded) as refused:
        door.take(work)
    assert refused.value.retry_after_s is not None
    return refused.value
