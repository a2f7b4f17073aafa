"""Decode: a spooled clip -> its price, then its uint8 frames, in processes that may be killed at any moment.

Two questions are asked of a clip: what it will cost, in a fraction of a millisecond and of any process that is idle;
and, once the backlog has said yes, its frames. Two processes more than may decode at the same time are kept warm: for
the first question, for small clips, and for those that die or are replaced; and one for work that yields to all other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from contract.input_spec import InputSpec
from contract.video import DecodeCost
from service.context import deadline_exceeded
from service.cores import available_cores, idle_time_is_free
from service.decoding.answer import DecodedVideo, cost_in, video_in
from service.decoding.process import DecodeProcess
from service.errors import Draining, Overloaded, Quarantined
from service.metrics import Metrics
from service.scheduling.backlog import Backlog
from service.scheduling.price import Price, PriceModel
from service.scheduling.work import Work
from service.settings import DecodeSettings
from service.stages.outcome import fail, wait_for_outcome
from service.workers.job import Job
from service.workers.processes import Workers
from service.workers.quarantine import Quarantine

SPARE_PROCESSES = 2
_LOOKS = 2
"""Processes that may look at the same time: a clip on which a look hangs must not take a decoder from the others."""
_LOOK_PATIENCE_S = 0.25
_FAIR_CPU_S, _FAIR_UNPRICED_CPU_S = 0.05, 1.0
_BEYOND = 2.0
"""Times the most that a clip of its price takes, 1 in 100 excepted: then a decode has had its share."""


def decode_workers(settings: DecodeSettings) -> int:
    """How many decodes run at the same time."""
    return settings.workers or available_cores()


@dataclass(frozen=True)
class Clip:
    """A video on the spool.

    Attributes:
        descriptor: the open file; it must stay open while the clip is asked about.
        digest: its SHA-256, for quarantine.
        size: in bytes.
    """

    descriptor: int
    digest: str
    size: int


@dataclass(frozen=True)
class _Seen:
    """What a look brought: None where the container does not say."""

    cost: DecodeCost | None


class _Look(Job[_Seen]):
    """Attributes: ``counts``: whether it is among the looks of which there are so many at a time."""

    task = "cost"
    fair_cpu_s = _FAIR_CPU_S

    def __init__(self, clip: Clip, spec: InputSpec, pool: DecodePool) -> None:
        super().__init__(clip.descriptor, clip.digest, spec, pool.settings.limits, pool.settings.wall_seconds)
        self.size = clip.size
        self.counts = True
        self._pool = pool

    def read(self, answer: dict[str, Any], process: DecodeProcess) -> _Seen | None:
        cost = cost_in(answer)
        return _Seen(cost) if cost is not None or answer.get("cost", ...) is None else None

    def put_back(self) -> None:
        self._pool.look_again(self)

    def give_way(self) -> bool:
        if not self._pool.looks_wait():
            return False
        self.counts = False
        self._pool.looked()
        self._pool.backlog.on_free()
        return True

    def in_the_way(self) -> bool:
        return self._pool.somebody_waits()

    def ended(self, seconds: float, *, whole: bool, stuck: bool = False) -> None:
        if self.counts:
            self._pool.looked()


class _Decode(Job[DecodedVideo]):
    task = "decode"

    def __init__(
        self,
        clip: Clip,
        spec: InputSpec,
        pool: DecodePool,
        work: Work,
        price: Price,
        on_start: Callable[[], None],
        on_cpu: Callable[[float], None],
    ) -> None:
        super().__init__(clip.descriptor, clip.digest, spec, pool.settings.limits, pool.settings.wall_seconds)
        self.work = work
        self.on_start = on_start
        self._on_cpu = on_cpu
        self._price = price
        self._pool = pool
        # By CPU time: what a decode takes by the clock grows with what runs beside it, such as those that hang.
        cpu = pool.cpu_prices.of(price.codec, price.expected_s)
        self.fair_cpu_s = max(_FAIR_CPU_S if cpu.trusted else _FAIR_UNPRICED_CPU_S, _BEYOND * cpu.margin * cpu.seconds)

    @property
    def yields(self) -> bool:
        return self.work.yields

    def read(self, answer: dict[str, Any], process: DecodeProcess) -> DecodedVideo | None:
        return video_in(answer, process.frames(self.spec))

    def put_back(self) -> None:
        self._pool.backlog.enqueue(self.work)

    def give_way(self) -> bool:
        return self._pool.let_others_in(self.work)

    def in_the_way(self) -> bool:
        return self._pool.backlog.waits(last=True) if self.yields else self._pool.somebody_waits()

    def ended(self, seconds: float, *, whole: bool, stuck: bool = False) -> None:
        cpu_s = min(seconds, self.cpu_s)  # a worker that was taken over says what it likes
        if whole:
            self._pool.cpu_prices.learn(self._price, cpu_s)
        if whole or not stuck:
            # One that stepped back took as long as the others let it; alone it would have taken its CPU time.
            self._pool.learn(self._price, cpu_s if stuck else seconds, whole=whole)
        self._on_cpu(self.cpu_s)
        self.cpu_s = 0.0
        self._pool.backlog.decoded(self.work, whole=whole)


class DecodePool:
    """The clips' door to the worker processes.

    Args:
        settings: bounds and sizes.
        slot_bytes: the largest frames array that any arm asks for.
        backlog: which decode comes next.
        metrics: where it shows.
        spool: the directory of the clips' files; None: the system's temporary directory.

    Attributes:
        serves_last: whether a process is there for work that yields.
    """

    def __init__(
        self,
        settings: DecodeSettings,
        slot_bytes: int,
        backlog: Backlog,
        metrics: Metrics,
        spool: Path | None = None,
    ) -> None:
        self.settings = settings
        self.backlog = backlog
        self.prices = PriceModel(settings.wall_seconds)
        self.cpu_prices = PriceModel(settings.cpu_seconds)
        self.workers = decode_workers(settings)
        self._metrics = metrics
        self._quarantine = Quarantine(
            settings.quarantine_after, settings.quarantine_entries, settings.quarantine_seconds
        )
        self.processes = self.workers + SPARE_PROCESSES
        self.serves_last = idle_time_is_free()
        next_last = partial(self._next_decode, backlog.next_last) if self.serves_last else None
        self._processes = Workers(
            settings,
            slot_bytes,
            self.workers,
            SPARE_PROCESSES,
            self._next_job,
            next_last,
            self._quarantine,
            metrics,
            spool,
        )
        self._looks: list[_Look] = []
        self._looking = 0
        self._decodes: dict[Work, _Decode] = {}
        self._closed = False
        backlog.displace = self._displace
        backlog.most_set_aside = SPARE_PROCESSES
        backlog.on_free = self._processes.wake

    def start(self) -> None:
        """Starts the processes, behind the scenes."""
        self._processes.start()

    def alive(self) -> int:
        """Processes that take jobs."""
        return self._processes.alive()

    def pids(self) -> list[int]:
        """Process ids of those."""
        return self._processes.pids()

    def faults(self) -> list[str]:
        """Why no clip can be decoded; empty if clips can be."""
        return self._processes.faults()

    async def price(self, clip: Clip, spec: InputSpec) -> Price:
        """What the clip's decode is expected to take.

        Args:
            clip: on the spool.
            spec: which frames.

        Raises:
            MediaError: it can be told without decoding that the clip cannot be used.
            DecodeTimeout, DecodeCrashed, Quarantined: it hung, ended its worker, or did so before.
            DecoderLost, Draining: workers are being ended; the service shuts down.
        """
        self._refuse(clip)
        look = _Look(clip, spec, self)
        self.look_again(look)
        self._processes.wake()
        try:
            cost = (await wait_for_outcome(look.done, _LOOK_PATIENCE_S)).cost
        except TimeoutError:
            # Nobody waits for ever on a look: what is behind it is then priced by its size.
            self._metrics.unpriced_clips.inc()
            cost = None
        finally:
            if look in self._looks:
                self._looks.remove(look)
        return self.prices.price(cost, clip.size)

    async def decode(
        self,
        clip: Clip,
        spec: InputSpec,
        work: Work,
        on_start: Callable[[], None],
        on_cpu: Callable[[float], None] = lambda _: None,
    ) -> DecodedVideo:
        """The clip's frames. To leave is to be cancelled: the work then ends between two packets.

        Args:
            clip: on the spool.
            spec: which frames.
            work: as the backlog accepted it.
            on_start: called when a worker has it, again if that worker is lost.
            on_cpu: called with the CPU seconds of it, when a worker is done with it, refusals included.

        Raises:
            MediaError: the clip cannot be used.
            DecodeTimeout, DecodeCrashed, Quarantined: it overran, ended its worker, or did so before.
            DeadlineExceeded: it cannot be in time any more.
            DecoderLost, Overloaded, Draining: come back later.
        """
        self._refuse(clip)
        assert work.price is not None
        job = _Decode(clip, spec, self, work, work.price, on_start, on_cpu)
        self._decodes[work] = job
        self.backlog.enqueue(work)
        self._processes.wake()
        try:
            return await wait_for_outcome(job.done, None)
        finally:
            del self._decodes[work]
            self.backlog.withdraw(work)

    async def close(self) -> None:
        """Ends the processes; those that still wait are told that the service drains."""
        self._closed = True
        await self._processes.close()
        for look in self._looks:
            fail(look.done, _draining())
        for job in self._decodes.values():
            fail(job.done, _draining())

    def look_again(self, look: _Look) -> None:
        """The look waits for a process; small files first."""
        self._looks.append(look)
        self._looks.sort(key=lambda waiting: waiting.size)

    def looked(self) -> None:
        """A process is done with a look."""
        self._looking -= 1

    def let_others_in(self, work: Work) -> bool:
        """The work has had its share: whether somebody who waits may then start beside it."""
        self._processes.wake()  # time alone may have let somebody in
        if not self.backlog.set_aside(work):
            return False
        self._processes.wake()
        return True

    def looks_wait(self) -> bool:
        """Whether a clip waits to be looked at."""
        return bool(self._looks)

    def somebody_waits(self) -> bool:
        """Whether there is something to do, and no process for it."""
        return not self._processes.idle() and (self.looks_wait() or self.backlog.waits())

    def learn(self, price: Price, seconds: float, *, whole: bool) -> None:
        """What a decode took."""
        self.prices.learn(price, seconds, whole=whole)
        if whole:
            self._metrics.price_error.observe(seconds / price.seconds)

    def _refuse(self, clip: Clip) -> None:
        if self._closed:
            raise _draining()
        if self._quarantine.holds(clip.digest):
            self._metrics.quarantine_hits.inc()
            raise Quarantined("this video ended its decoder before: send it re-encoded as H.264 in MP4")

    def _next_job(self) -> Job[Any] | None:
        while self._looks and self._looking < _LOOKS:
            look = self._looks.pop(0)
            if not look.done.done():
                self._looking += 1
                look.counts = True
                return look
        return self._next_decode(self.backlog.next_to_start)

    def _next_decode(self, next_work: Callable[[], Work | None]) -> _Decode | None:
        while (work := next_work()) is not None:
            job = self._decodes[work]
            if not job.done.done() and not work.hopeless(time.monotonic()):
                self.backlog.begin(work)
                job.on_start()
                return job
            self.backlog.withdraw(work)
            fail(job.done, self.backlog.overloaded(work) if work.bulk else deadline_exceeded())
        return None

    def _displace(self, work: Work, error: Overloaded) -> None:
        """Bulk work gives way."""
        self.backlog.withdraw(work)
        fail(self._decodes[work].done, error)


def _draining() -> Draining:
    return Draining("the service is shutting down: send the request again", retry_after_s=1)
