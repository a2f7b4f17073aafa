"""The backlog: all work that is accepted and not yet done. It says yes, no, or when; nothing here waits or locks.

Work is accepted before it is begun, at its price. It is refused where it could not be in time, where it would make
others late who were told yes, or where the backlog is full; and it is told when to come back. Nobody is refused on a
price that is a mere guess: until enough was measured only the count is bounded.

Where the model runs on the CPU a clip holds one core from its first packet to its verdict, and the next clip starts
when that core is free. Decodes and batches side by side, each on as many cores as there are, would slow each other
down, and nobody could foresee by how much.
"""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from service.errors import DeadlineTooShort, Overloaded
from service.metrics import Metrics
from service.scheduling import policy
from service.scheduling.promises import Promises
from service.scheduling.work import Stage, Work

SHED_REASONS = ("untrained", "late", "others_late", "backlog", "displaced")
"""Why priced work is refused: values of the label of ``cpfd_shed``."""
_UNPRICED_PER_WORKER = 32
_FORESEEN = 64
"""A queue of up to so many is foreseen start by start, a longer one by a bound on its waits."""
_CLEARLY = 2.0
"""Work takes longer while other work runs: who asks for less than half of it then would not get it alone either."""
_LAST = policy.Priority.LAST.rank
_ALWAYS_S = 1.0
"""So little work, in seconds for each worker, is always taken: room that is kept for those who were told to come back
must not leave the workers idle if they do not come."""


class Backlog:
    """Accepted work by stage.

    Args:
        max_s: seconds of work, shared among the workers, beyond which newcomers are told to come back.
        workers: decodes at the same time.
        lanes: batches at the same time.
        metrics: where it shows.
        clock: monotonic seconds.
        shares_cores: whether batches run on the cores of the workers.

    Attributes:
        displace: called with bulk work that has to go, and why.
        on_free: called when a core is free again.
        most_set_aside: so many decodes that stepped back count as if they did not run: each has a process all the same.
    """

    def __init__(
        self,
        max_s: float,
        workers: int,
        lanes: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        *,
        shares_cores: bool = False,
    ) -> None:
        self._max_s = max_s
        self._workers = workers
        self._lanes = lanes
        self._shares_cores = shares_cores
        self._metrics = metrics
        self._clock = clock
        self._waiting: list[Work] = []
        self._waiting_s = [0.0 for _ in policy.Priority]  # by rank
        self._all_model_s = {False: 0.0, True: 0.0}  # of work that yields, and of all other
        self._running: list[Work] = []
        self._all: set[Work] = set()
        self.promises = Promises(lambda kept: metrics.promises.labels("kept" if kept else "missed").inc(), clock=clock)
        self.displace: Callable[[Work, Overloaded], None] = lambda work, error: None
        self.on_free: Callable[[], None] = lambda: None
        self.most_set_aside = 0
        for reason in SHED_REASONS:
            metrics.shed.labels(reason)
        # Asked at each scrape: kept up to date at each step of each request they would cost more than they tell.
        metrics.queue_seconds_of_work.set_function(self.signal_s)
        metrics.decode_queue_depth.set_function(lambda: len(self._waiting))
        for stage in ("decode", "inference"):
            metrics.stage_seconds_of_work.labels(stage).set_function(partial(self._stage_s, stage))
        for outcome in ("kept", "missed"):
            metrics.promises.labels(outcome)

    @property
    def count(self) -> int:
        """Requests whose work is accepted and not yet done."""
        return len(self._all)

    @contextmanager
    def accepted(self, work: Work) -> Iterator[None]:
        """Holds the work's place from now until the block is left.

        Raises:
            DeadlineTooShort: it takes longer than its caller allows, however little there is to do.
            Overloaded: not now; ``retry_after_s`` says when.
        """
        self._accept(work)
        try:
            yield
        finally:
            self.leave(work)

    def turn_away(self, least: Work, likely: Work) -> None:
        """Refuses a newcomer who could not be let in however little his clip's decode takes, unseen.

        Most refusals under overload are such, and the look is a good part of what they cost.

        Args:
            least: his work, its decode for nothing.
            likely: the same at a guess: what he will bring when he comes back.

        Raises:
            Overloaded: not now; ``retry_after_s`` says when.
        """
        if not least.yields and self.promises.is_due(least.who):
            return
        now = self._clock()
        for work in (least, likely):
            work.keep_core(self._shares_cores)
        reason = "backlog" if self._full(least, now) else "late" if self._foresee(least, now)[0] else None
        if reason is not None:
            self._metrics.shed.labels(reason).inc()
            raise self.overloaded(likely)

    def _accept(self, work: Work) -> None:
        now = self._clock()
        work.keep_core(self._shares_cores and work.price is not None)
        promise = None if work.yields else self.promises.redeem(work.who)
        reason = self._refusal(work, now, promised=promise is not None)
        if reason == DeadlineTooShort.code:
            needed_ms = 1000 * work.margin * work.whole_s
            raise DeadlineTooShort(f"this takes about {needed_ms:.0f} ms: allow more in X-Request-Timeout-Ms")
        if reason is not None:
            self._metrics.shed.labels(reason).inc()
            raise self.overloaded(work)
        self._all.add(work)
        self._all_model_s[work.yields] += self._lane_s(work)

    def _refusal(self, work: Work, now: float, *, promised: bool) -> str | None:
        """Why the work is not taken, None if it is. May push bulk work out."""
        if not work.trusted:
            return "untrained" if len(self._all) >= _UNPRICED_PER_WORKER * self._workers else None
        left_s = work.urgency.latest - now
        needed_s = work.whole_s
        idle = not self._running and not self._waiting
        if needed_s > left_s * (1.0 if idle else _CLEARLY):
            return DeadlineTooShort.code
        if not promised and self._full(work, now):
            return "backlog"
        late, harmed = self._foresee(work, now)
        if late and promised and not work.bulk:
            work.hurried = True
            late, harmed = self._foresee(work, now)
        if late:
            return "late"
        if self._delays_on_lanes(work, now) or any(other.rank <= work.rank for other in harmed):
            return "others_late"
        for other in harmed:
            self._metrics.shed.labels("displaced").inc()
            self.displace(other, self.overloaded(other))
        return None

    def _foresee(self, work: Work, now: float) -> tuple[bool, list[Work]]:
        """Whether the work would be late, and who could not count on being in time any more because of it."""
        wait_s, harmed = self._foresee_decode(work, now) if work.price is not None else (0.0, [])
        decoded_s, left_s, lanes_s = wait_s + work.decode_s, work.latest - now, self._model_s(last=work.yields)
        if work.keeps_core:
            decoded_s += lanes_s  # of texts, which take turns on the same cores
        return (
            self._late(work, decoded_s, lanes_s, left_s)
            # Lanes take the most urgent first: it is worth a closer look at who is before it.
            and self._late(work, decoded_s, self._model_before_s(work), left_s)
        ), harmed

    @staticmethod
    def _late(work: Work, decoded_s: float, lanes_s: float, left_s: float) -> bool:
        """Whether it would be late, decoded after so many seconds and with the lanes taken for so many."""
        finish_s = max(decoded_s, lanes_s) + work.model_s
        # With nothing in its way it is worth a try, however little time is to spare; so it is for whoever was promised
        # this turn.
        sure = work.hurried or finish_s <= work.whole_s
        return (1.0 if sure else work.margin) * finish_s > left_s

    def _foresee_decode(self, work: Work, now: float) -> tuple[float, list[Work]]:
        """The seconds until its decode would start, and who is harmed."""
        line, running, parallel = self._line(last=work.yields), self._busy(now), self._workers
        if work.yields:
            running, parallel = self._last_running(now), 1
        at = policy.position(line, work.key)
        if len(line) <= _FORESEEN:
            queue = line
            before = policy.starts(running, queue, parallel)
            placed = policy.starts(running, [*queue[:at], work, *queue[at:]], parallel)
            wait_s = placed.pop(at)
        else:
            queue = line[at:]
            behind_s = [other.held_s for other in queue]
            waiting_s = self._waiting_s[_LAST] if work.yields else sum(self._waiting_s[:_LAST])
            ahead_s = max(0.0, sum(left_s for left_s, _ in running) + waiting_s - sum(behind_s))
            before = policy.waits(ahead_s, behind_s, parallel)
            placed = policy.waits(ahead_s + work.held_s, behind_s, parallel)
            wait_s = ahead_s / parallel
        return wait_s, [queue[i] for i in policy.harmed(queue, before, placed, now, work.margin)]

    def _line(self, *, last: bool) -> list[Work]:
        """Who waits, first to last: of work that yields, which has a line and a process of its own, or of all other."""
        return [work for work in self._waiting if work.yields is last]

    def _full(self, work: Work, now: float) -> bool:
        """Whether a newcomer finds the backlog full, the turns of those who are to come back included."""
        drain_s = self._drain_s(now, decode=work.price is not None, rank=work.rank) + work.held_s / self._workers
        limit_s = self._max_s / 2 if work.bulk else self._max_s
        return drain_s > _ALWAYS_S and drain_s + self.promises.due_s(self._max_s) > limit_s

    def overloaded(self, work: Work | None = None) -> Overloaded:
        """The refusal, with the seconds after which to come back.

        Args:
            work: what was refused; None: a request of which nothing is known yet.
        """
        if work is None:
            wait_s = self.promises.promise(None, 0.0, self.drain_s())
        else:
            drain_s = self._drain_s(self._clock(), decode=True, rank=max(work.rank, _LAST - 1))
            share_s = max(work.held_s / self._workers, self._lane_s(work) / self._lanes)
            # No room is kept for who comes last: what many such are told would keep the others out.
            wait_s = self.promises.promise(None if work.yields else work.who, share_s, drain_s)
        return Overloaded(
            "too much work in flight: send the request again after the seconds in Retry-After", retry_after_s=wait_s
        )

    def enqueue(self, work: Work) -> None:
        """The work waits for a decode worker."""
        self._move(work, Stage.WAITING)
        insort(self._waiting, work, key=lambda other: other.key)
        self._waiting_s[work.rank] += work.held_s

    def reorder(self, work: Work) -> None:
        """Somebody joined or left: the work may be more urgent now."""
        if work.stage is Stage.WAITING:
            self._move(work, Stage.ACCEPTED)
            work.key = work.order()
            self.enqueue(work)

    def next_to_start(self) -> Work | None:
        """The waiting work that may start now; it stays where it is. Of such as does not yield."""
        running = self._busy(self._clock())
        line = self._line(last=False)
        return next((work for work in line if policy.may_start(work, running, self._workers)), None)

    def next_last(self) -> Work | None:
        """The same of work that yields: one at a time, until its verdict."""
        if any(work.yields for work in self._running):
            return None
        return next(iter(self._line(last=True)), None)

    def _busy(self, now: float) -> list[policy.Running]:
        aside = [work for work in self._running if work.set_aside and not work.yields][: self.most_set_aside]
        counted = (work for work in self._running if work not in aside and not (work.yields and work.set_aside))
        return [(work.left_s(now), work.bulk) for work in counted]

    def _last_running(self, now: float) -> list[policy.Running]:
        return [(work.left_s(now), True) for work in self._running if work.yields]

    def begin(self, work: Work) -> None:
        """A worker has it; if it yields, for others as if it did not run."""
        self._move(work, Stage.RUNNING)
        work.began = self._clock()
        work.set_aside = work.yields
        self._running.append(work)

    def waits(self, *, last: bool = False) -> bool:
        """Whether work waits for a worker: such as yields, or other."""
        return any(work.yields is last for work in self._waiting)

    def set_aside(self, work: Work) -> bool:
        """Others who wait may start as if the work did not run: it has had far more than its price, and steps back.

        Returns:
            Whether somebody may start who could not before; if not, all stays as it is.
        """
        if work not in self._running or work.set_aside or self.next_to_start() is not None:
            return False
        work.set_aside = True
        work.set_aside = self.next_to_start() is not None
        return work.set_aside

    def withdraw(self, work: Work) -> None:
        """It waits for no worker any more."""
        if work.stage is Stage.WAITING:
            self._move(work, Stage.ACCEPTED)

    def decoded(self, work: Work, *, whole: bool = True) -> None:
        """The worker is done with it; the model is not, unless the decode was broken off."""
        work.set_aside = work.yields
        if work.stage is Stage.RUNNING:
            self._move(work, Stage.DECODED if whole else Stage.ACCEPTED)
            work.began = self._clock()
        elif work in self._running:
            self._running.remove(work)

    def takes_lane(self, work: Work) -> None:
        """A lane has it: until then work that yields has held no core."""
        work.set_aside = False

    def leave(self, work: Work) -> None:
        """It is done, or nobody waits for it any more: a worker that has it stops at its next packet, and has its core
        until then."""
        if work in self._all:
            self._all.remove(work)
            self._all_model_s[work.yields] -= self._lane_s(work)
            if not self._all:
                self._all_model_s = dict.fromkeys(self._all_model_s, 0.0)
        held = work.stage is Stage.DECODED and work.keeps_core
        self._move(work, Stage.GONE)
        if held:
            self.on_free()

    def _move(self, work: Work, stage: Stage) -> None:
        if work.stage is Stage.WAITING:
            self._waiting.remove(work)
            self._waiting_s[work.rank] -= work.held_s
            if not self._waiting:
                self._waiting_s = [0.0 for _ in self._waiting_s]
        elif work in self._running and not self._keeps(work, stage):
            self._running.remove(work)
        work.stage = stage

    @staticmethod
    def _keeps(work: Work, stage: Stage) -> bool:
        """Whether running work still has its core at the stage that it moves on to."""
        return work.keeps_core if stage is Stage.DECODED else stage is Stage.GONE and work.stage is Stage.RUNNING

    def drain_s(self) -> float:
        """Seconds until all accepted work is done that does not yield: the slowest stage's, or all stages' where they
        share cores."""
        return self._drain_s(self._clock(), decode=True)

    def stage_seconds(self) -> dict[str, float]:
        """The same for each stage."""
        return {"decode": self._decode_s(self._clock()), "inference": self._model_s()}

    def _stage_s(self, stage: str) -> float:
        return self.stage_seconds()[stage]

    def _drain_s(self, now: float, *, decode: bool, rank: int = _LAST - 1) -> float:
        """Of what goes before work of this rank."""
        decode_s, model_s = self._decode_s(now, rank) if decode else 0.0, self._model_s(last=rank == _LAST)
        return decode_s + model_s if self._shares_cores else max(model_s, decode_s)

    def _decode_s(self, now: float, rank: int = _LAST - 1) -> float:
        if rank == _LAST:
            return max(0.0, self._waiting_s[_LAST]) + sum(left_s for left_s, _ in self._last_running(now))
        running_s = sum(left_s for left_s, _ in self._busy(now))
        return (max(0.0, sum(self._waiting_s[: rank + 1])) + running_s) / self._workers

    def _model_s(self, *, last: bool = False) -> float:
        """Of work that does not yield; of all, for work that does."""
        all_s = self._all_model_s[False] + (self._all_model_s[True] if last else 0.0)
        return max(0.0, all_s) / self._lanes

    @staticmethod
    def _lane_s(work: Work) -> float:
        """Seconds of a lane that are not reckoned with elsewhere: a clip that keeps its core has its model there."""
        return 0.0 if work.keeps_core else work.model_s

    def _model_before_s(self, work: Work) -> float:
        """Seconds until a lane is free for it: more urgent work goes first, and what is on a lane stays there."""
        mine = work.rank, work.latest
        before_s = sum(self._lane_s(other) for other in self._all if (other.rank, other.latest) <= mine) / self._lanes
        return before_s + (self._lane_s(work) if len(self._all) >= self._lanes else 0.0)

    def _delays_on_lanes(self, work: Work, now: float) -> bool:
        """Whether somebody less urgent could not count on being in time any more because of it."""
        mine, more_s, before_s = (work.rank, work.latest), self._lane_s(work) / self._lanes, 0.0
        if not more_s or len(self._all) > _FORESEEN:
            return False
        for other in sorted(self._all, key=lambda accepted: (accepted.rank, accepted.latest)):
            needed_s, left_s = before_s + 2 * other.model_s, other.latest - now  # itself, and what is on a lane
            before_s += self._lane_s(other) / self._lanes
            less_urgent = other.rank == work.rank and (other.rank, other.latest) > mine
            if less_urgent and needed_s <= left_s < other.margin * (needed_s + more_s):
                return True
        return False

    def signal_s(self) -> float:
        """What to scale on: the drain time, and the turns of those who were sent away and will be back."""
        return self.drain_s() + self.promises.due_s(self._max_s)
