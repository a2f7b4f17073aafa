"""Keeps worker processes alive and hands them jobs.

One supervisor task owns each process: it starts it, hands it jobs, ends it when a job overruns, and replaces it when it
dies. A job whose caller left is stopped between two packets and costs no process. A job that ends its process is
refused alone; a process that is ended from outside costs nobody anything: its job is done once more, by another.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.decoding.answer import cpu_in, refusal_in
from service.decoding.process import DecodeProcess, WorkerDied
from service.decoding.template import Template
from service.errors import DecodeCrashed, DecoderLost, DecodeTimeout, Draining, Unexpected
from service.logs import FIELDS
from service.metrics import Metrics
from service.sandbox.report import SandboxReport
from service.settings import DecodeSettings
from service.stages.outcome import fail, succeed
from service.workers.backoff import delay_s
from service.workers.deaths import Blame, blame_for, memory_kills
from service.workers.ending import Ending
from service.workers.job import Job
from service.workers.mending import Mending
from service.workers.patience import Patience
from service.workers.quarantine import Quarantine

log = logging.getLogger(__name__)
RESTART_REASONS = (
    "recycled",
    "start_failed",
    "died_idle",
    "killed",
    "timeout",
    "stuck",
    "stepped_back",
    "crashed",
    "failed",
)
"""Why a worker is replaced: the label of ``cpfd_decode_worker_restarts``."""
_NONE_ALIVE_S = 10.0
"""For how long there may be no process at all, without a failed start, before that counts as a fault: hostile clips
can end all of them at once, and what callers send must not turn the others away."""
_BY_THE_CLIP = frozenset({"timeout", "stuck", "crashed", "failed"})
_LIFE_SPREAD = 0.25
_REAP_S = 1.0


class Workers:
    """Processes behind one source of jobs.

    Args:
        settings: bounds of a process and of its life.
        slot_bytes: the largest frames array that any arm asks for.
        enough: so many processes do the work.
        spare: so many more are kept warm.
        next_job: takes the next job that may start now; None if there is none.
        next_last: the same of jobs that yield; None: there are none. One process more is theirs alone, and has what all
            others leave of the cores.
        quarantine: told of clips that end processes.
        metrics: where it shows.
        spool: the directory of the clips' files; None: the system's temporary directory.
    """

    def __init__(
        self,
        settings: DecodeSettings,
        slot_bytes: int,
        enough: int,
        spare: int,
        next_job: Callable[[], Job[Any] | None],
        next_last: Callable[[], Job[Any] | None] | None,
        quarantine: Quarantine,
        metrics: Metrics,
        spool: Path | None = None,
    ) -> None:
        self._spool = spool
        self._sandbox = SandboxReport(metrics)
        self._settings = settings
        self._template = Template(settings)
        self._slot_bytes = slot_bytes
        self._next_job, self._next_last = next_job, next_last or (lambda: None)
        self._serves_last = next_last is not None
        self._quarantine = quarantine
        self._metrics = metrics
        self._rng = random.Random()
        self._supervisors: list[asyncio.Task[None]] = []
        self._live: dict[int, DecodeProcess] = {}
        self._idle: deque[asyncio.Future[Job[Any]]] = deque()
        self._idle_last: deque[asyncio.Future[Job[Any]]] = deque()
        self._failures: dict[int, int] = {}
        self._was_up = False
        self._none_since: float | None = None
        self._mending = Mending(lambda: self.alive() >= enough)
        self.count = enough + spare
        for reason in RESTART_REASONS:  # at 0 from the start: increase() does not see a series' birth
            metrics.decode_worker_restarts.labels(reason)
        metrics.decode_start_failures.set_function(self.start_failures)

    def start(self) -> None:
        """Starts the supervisors; processes come up behind them."""
        self._supervisors = [
            asyncio.create_task(self._supervise(i), name=f"decode-{i}") for i in range(self.count + self._serves_last)
        ]

    def alive(self) -> int:
        """Processes that take jobs of whatever kind."""
        return sum(process.exit_code is None for index, process in self._live.items() if not self._is_last(index))

    def _is_last(self, index: int) -> bool:
        """Whether the process is there for jobs that yield."""
        return index == self.count

    def idle(self) -> bool:
        """Whether a process waits for a job."""
        return bool(self._idle)

    def pids(self) -> list[int]:
        return [process.pid for process in self._live.values()]

    def start_failures(self) -> int:
        """Of the process that fails to start most stubbornly: how many times in a row."""
        return max(self._failures.values(), default=0)

    def faults(self) -> list[str]:
        """Why no job can be done; empty if some can, or will in a moment."""
        if self.alive():
            return []
        failed = self.start_failures()
        if failed:
            return [f"0 of {self.count} decode workers are alive: {failed} starts in a row failed, the log says why"]
        if self._was_up:
            self._none_since = self._none_since or time.monotonic()
            if time.monotonic() - self._none_since < _NONE_ALIVE_S:
                return []
        return [f"0 of {self.count} decode workers are alive"]

    def wake(self) -> None:
        """Hands out what may start now. To be called whenever a job came, or one that held others back has ended."""
        for idle, next_job in ((self._idle, self._next_job), (self._idle_last, self._next_last)):
            while idle and (job := next_job()) is not None:
                idle.popleft().set_result(job)

    async def close(self) -> None:
        """Ends the processes; the jobs they had are told that the service drains."""
        for supervisor in self._supervisors:
            supervisor.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)
        await self._template.close()
        self._mending.pay_all()

    async def _supervise(self, index: int) -> None:
        """Keeps one process alive for ever, whatever happens to it."""
        while True:
            try:
                reason = await self._one_life(index)
            except Exception:
                log.exception("decode worker could not be started", extra={FIELDS: {"stage": "decode"}})
                reason = "start_failed"
            self._metrics.decode_worker_restarts.labels(reason).inc()
            if reason in _BY_THE_CLIP:
                self._template.blame()
                await self._mending.turn()
            if reason == "start_failed":
                self._mending.pay(index)
                self._failures[index] = self._failures.get(index, 0) + 1
                await asyncio.sleep(delay_s(self._failures[index], self._rng))

    async def _one_life(self, index: int) -> str:
        """Starts a process, lets it serve until it must go, and buries it; says why it had to go."""
        process = DecodeProcess(self._settings, self._slot_bytes, self._spool, self._template)
        try:
            try:
                async with asyncio.timeout(self._settings.start_seconds):
                    await process.ready()
            except (WorkerDied, TimeoutError):
                fields = {"stage": "decode", "cause": process.last_words()}
                log.error("decode worker did not start", extra={FIELDS: fields})
                return "start_failed"
            self._sandbox.tell(process.protections)
            self._failures.pop(index, None)
            self._live[index] = process
            self._mending.pay(index)
            if self._is_last(index):
                process.step_back(idle=True)
            else:
                self._was_up, self._none_since = True, None
            self._show_alive()
            with Ending(process.pid) as ending:
                return await self._serve(index, process, ending)
        finally:
            self._live.pop(index, None)
            self._show_alive()
            await asyncio.shield(process.end())

    def _show_alive(self) -> None:
        self._metrics.decode_workers_alive.set(sum(not self._is_last(index) for index in self._live))

    async def _serve(self, index: int, process: DecodeProcess, ending: Ending) -> str:
        """Hands jobs to one process until it must be replaced; says why."""
        life = round(self._settings.jobs_per_worker * self._rng.uniform(1 - _LIFE_SPREAD, 1 + _LIFE_SPREAD))
        served = 0
        # Old processes go one at a time, while all the others are warm.
        while served < max(1, life) or self.alive() < self.count:
            job = await self._wait_for_job(ending, self._idle_last if self._is_last(index) else self._idle)
            if job is None:
                return "died_idle"
            served += 1
            if process.exit_code is not None:
                job.ended(0.0, whole=False)
                if not job.done.done():
                    job.put_back()
                self.wake()
                return "died_idle"
            reason = await self._run(index, process, job, ending)
            if reason in ("killed", "stepped_back") and not job.done.done():
                job.put_back()
            self.wake()
            if reason is not None:
                return reason
        return "recycled"

    async def _wait_for_job(self, ending: Ending, idle: deque[asyncio.Future[Job[Any]]]) -> Job[Any] | None:
        """The next job; None if the process died meanwhile."""
        offer: asyncio.Future[Job[Any]] = asyncio.get_running_loop().create_future()
        idle.append(offer)
        self.wake()
        either: set[asyncio.Future[Any]] = {offer, ending.gone}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if offer.done():
                fail(offer.result().done, _draining())
            raise
        finally:
            if not offer.done():
                idle.remove(offer)
        return offer.result() if offer.done() else None

    async def _run(self, index: int, process: DecodeProcess, job: Job[Any], ending: Ending) -> str | None:
        """Resolves the job's future; says why the process must go, or None if it may stay."""
        if job.done.done():  # its caller left on the way here, and with him the file
            job.ended(0.0, whole=False)
            return None
        began, kills, whole = time.monotonic(), memory_kills(), False
        patience = Patience(process, job)
        try:
            async with asyncio.timeout(job.limit_s) as limit:
                patience.watch(limit)
                answer = await process.ask(job.message(), job.descriptor)
                patience.end()
            job.cpu_s += cpu_in(answer)
            reason = self._resolve(index, process, job, answer)
            whole = reason is None and not {"refused", "stopped"} & answer.keys()
            return "stepped_back" if reason is None and patience.stepped_back else reason
        except TimeoutError:
            if patience.starved():  # that others had the cores says nothing of the clip
                return "stepped_back"
            if not job.done.done() or patience.exhausted:
                self._quarantine.record(job.digest)
            if job.done.done():
                return "stuck" if patience.exhausted or not patience.stepped_back else "stepped_back"
            error = DecodeTimeout("the video takes too long to decode: send a shorter or smaller rendition")
            self._mending.owe(index, job, error)
            return "timeout"
        except WorkerDied:
            patience.end()
            await asyncio.wait({ending.gone}, timeout=_REAP_S)  # its socket closes a moment before it is gone
            return self._died(index, process, job, memory_ran_out=memory_kills() > kills)
        except asyncio.CancelledError:
            fail(job.done, _draining())
            raise
        except Exception:
            fail(job.done, Unexpected("the service failed on this request; the operator was told"))
            log.exception("decode failed", extra={FIELDS: {"stage": "decode", "clip": job.digest}})
            return "failed"
        finally:
            patience.end()
            job.ended(
                time.monotonic() - began, whole=whole, stuck=patience.exhausted or patience.stepped_back or job.yields
            )

    def _resolve(self, index: int, process: DecodeProcess, job: Job[Any], answer: dict[str, Any]) -> str | None:
        if job.done.done() and "failed" not in answer:
            return None
        refusal = refusal_in(answer)
        if refusal is not None:
            fail(job.done, refusal)
            return None
        value = None if "failed" in answer else job.read(answer, process)
        if value is None:
            self._crashed(index, job, str(answer.get("failed", "bad_answer"))[:64])
            return "failed"
        succeed(job.done, value)
        return None

    def _died(self, index: int, process: DecodeProcess, job: Job[Any], *, memory_ran_out: bool) -> str:
        """Judges a death in mid-job: the clip's own doing, or done to the process."""
        if blame_for(process.exit_code, memory_ran_out=memory_ran_out) is Blame.OWN:
            self._crashed(index, job, f"exit {process.exit_code}")
            return "crashed"
        fields = {"stage": "decode", "cause": f"exit {process.exit_code}", "clip": job.digest}
        log.warning("a decode worker was ended from outside", extra={FIELDS: fields})
        job.lost_workers += 1
        if job.lost_workers > 1:
            fail(job.done, DecoderLost("decode workers are being ended: send the request again", retry_after_s=1))
        return "killed"

    def _crashed(self, index: int, job: Job[Any], cause: str) -> None:
        self._quarantine.record(job.digest)
        fields = {"stage": "decode", "cause": cause, "clip": job.digest}
        log.warning("a clip ended its decoder", extra={FIELDS: fields})
        error = DecodeCrashed("the video's decoder ended: send it once more; if that fails, re-encoded as H.264 in MP4")
        self._mending.owe(index, job, error)


def _draining() -> Draining:
    return Draining("the service is shutting down: send the request again", retry_after_s=1)
