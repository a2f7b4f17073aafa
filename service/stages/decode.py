"""Decode: a spooled clip -> uint8 frames, in a pool of processes that may be killed at any moment.

One supervisor task owns each worker: it starts it, hands it jobs, kills it when a job overruns, and replaces
it when it dies. A job that ends its worker is refused alone; the next job gets a fresh worker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.input_spec import InputSpec
from service.context import RequestContext, deadline_exceeded
from service.cores import available_cores
from service.errors import DecodeCrashed, DecodeTimeout, Draining, Quarantined, Unexpected
from service.logs import FIELDS
from service.metrics import Metrics
from service.sandbox.report import SandboxReport
from service.settings import DecodeSettings
from service.stages.decode_answer import DecodedVideo, refusal_in, video_in
from service.stages.decode_process import DecodeProcess, WorkerDied
from service.stages.outcome import fail, succeed, wait_for_outcome
from service.stages.quarantine import Quarantine

log = logging.getLogger(__name__)
_BACKOFF_S = (0.1, 5.0)
RESTART_REASONS = ("recycled", "start_failed", "died_idle", "deadline", "timeout", "crashed", "failed")
"""Why a worker is replaced: the label of ``cpfd_decode_worker_restarts``."""


@dataclass
class _Job:
    descriptor: int
    spec: InputSpec
    digest: str
    context: RequestContext
    done: asyncio.Future[DecodedVideo]
    queued: float


class DecodePool:
    """Worker processes behind one queue.

    Args:
        settings: bounds and sizes.
        slot_bytes: the largest frames array that any arm asks for.
        metrics: where it shows.
        spool: the directory of the clips' files; None: the system's temporary directory.
    """

    def __init__(self, settings: DecodeSettings, slot_bytes: int, metrics: Metrics, spool: Path | None = None) -> None:
        self._settings = settings
        self._slot_bytes = slot_bytes
        self._spool = spool
        self._sandbox = SandboxReport(metrics)
        self._metrics = metrics
        self._quarantine = Quarantine(settings.quarantine_after, settings.quarantine_entries)
        # Bounded by admission: every job belongs to a request that holds a permit.
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._supervisors: list[asyncio.Task[None]] = []
        self._live: dict[int, DecodeProcess] = {}
        self._closed = False
        self.workers = settings.workers or available_cores()
        for reason in RESTART_REASONS:  # at 0 from the start: increase() does not see a series' birth
            metrics.decode_worker_restarts.labels(reason)

    def start(self) -> None:
        """Starts the supervisors; workers come up behind them."""
        self._supervisors = [asyncio.create_task(self._supervise(i), name=f"decode-{i}") for i in range(self.workers)]

    def alive(self) -> int:
        """Workers that take jobs."""
        return sum(process.alive() for process in self._live.values())

    def pids(self) -> list[int]:
        """Process ids of the workers that take jobs."""
        return [process.pid for process in self._live.values()]

    async def decode(self, descriptor: int, spec: InputSpec, digest: str, context: RequestContext) -> DecodedVideo:
        """The clip's frames.

        Args:
            descriptor: the open file; it must stay open until this returns.
            spec: which frames.
            digest: SHA-256 of the clip, for quarantine.
            context: gives the deadline; takes the timings ``decode_wait`` and ``decode``.

        Raises:
            MediaError: the clip cannot be used.
            DecodeTimeout, DecodeCrashed, Quarantined: it overran, ended its worker, or did so before.
            DeadlineExceeded, Draining: no time is left for it.
        """
        if self._quarantine.holds(digest):
            self._metrics.quarantine_hits.inc()
            raise Quarantined("this video ended its decoder before: send it re-encoded as H.264 in MP4")
        if self._closed:
            raise _draining()
        done: asyncio.Future[DecodedVideo] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait(_Job(descriptor, spec, digest, context, done, time.monotonic()))
        self._metrics.decode_queue_depth.set(self._jobs.qsize())
        try:
            return await wait_for_outcome(done, context.deadline - time.monotonic())
        except TimeoutError:
            raise deadline_exceeded() from None

    async def close(self) -> None:
        """Ends the workers; jobs that still wait are told that the service drains."""
        self._closed = True
        for supervisor in self._supervisors:
            supervisor.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)
        while not self._jobs.empty():
            fail(self._jobs.get_nowait().done, _draining())

    async def _supervise(self, index: int) -> None:
        """Keeps one worker alive for ever, whatever happens to it."""
        backoff = _BACKOFF_S[0]
        while True:
            try:
                reason = await self._one_life(index)
                backoff = _BACKOFF_S[0]
            except Exception:
                log.exception("decode worker could not be started", extra={FIELDS: {"stage": "decode"}})
                reason = "start_failed"
            self._metrics.decode_worker_restarts.labels(reason).inc()
            if reason == "start_failed":
                await asyncio.sleep(backoff)
                backoff = min(_BACKOFF_S[1], backoff * 2)

    async def _one_life(self, index: int) -> str:
        """Starts a worker, lets it serve until it must go, and buries it; says why it had to go."""
        process = DecodeProcess(self._settings, self._slot_bytes, self._spool)
        try:
            try:
                async with asyncio.timeout(self._settings.start_seconds):
                    await process.ready()
            except (WorkerDied, TimeoutError):
                fields = {"stage": "decode", "cause": process.last_words()}
                log.error("decode worker did not start", extra={FIELDS: fields})
                return "start_failed"
            self._sandbox.tell(process.protections)
            self._live[index] = process
            self._metrics.decode_workers_alive.set(len(self._live))
            return await self._serve(process)
        finally:
            self._live.pop(index, None)
            self._metrics.decode_workers_alive.set(len(self._live))
            await asyncio.shield(process.end())

    async def _serve(self, process: DecodeProcess) -> str:
        """Hands jobs to one worker until it must be replaced; says why."""
        for _ in range(self._settings.jobs_per_worker):
            job = await self._next_job(process)
            if job is None:
                return "died_idle"
            reason = await self._run(process, job)
            if reason is not None:
                return reason
        return "recycled"

    async def _next_job(self, process: DecodeProcess) -> _Job | None:
        """The next job that somebody still waits for; None if the worker died meanwhile."""
        while True:
            try:
                async with asyncio.timeout(1.0):
                    job = await self._jobs.get()
            except TimeoutError:
                if not process.alive():
                    return None
                continue
            self._metrics.decode_queue_depth.set(self._jobs.qsize())
            if job.done.done():
                continue
            if not process.alive():
                self._jobs.put_nowait(job)
                return None
            return job

    async def _run(self, process: DecodeProcess, job: _Job) -> str | None:
        """Resolves the job's future; says why the worker must go, or None if it may stay."""
        began = time.monotonic()
        left = job.context.deadline - began
        budget = min(self._settings.wall_seconds, left)
        try:
            async with asyncio.timeout(max(0.0, budget)):
                answer = await process.decode(job.descriptor, job.spec, self._settings.limits)
            return self._resolve(process, job, answer)
        except TimeoutError:
            if budget < self._settings.wall_seconds:
                fail(job.done, deadline_exceeded())
                return "deadline"
            self._quarantine.record(job.digest)
            fail(job.done, DecodeTimeout("the video takes too long to decode: send a shorter or smaller rendition"))
            return "timeout"
        except WorkerDied:
            self._crashed(job, "worker_died")
            return "crashed"
        except asyncio.CancelledError:
            fail(job.done, _draining())
            raise
        except Exception:
            fail(job.done, Unexpected("the service failed on this request; the operator was told"))
            log.exception("decode failed", extra={FIELDS: {"request_id": job.context.request_id, "stage": "decode"}})
            return "failed"
        finally:
            job.context.record("decode_wait", began - job.queued)
            job.context.record("decode", time.monotonic() - began)

    def _resolve(self, process: DecodeProcess, job: _Job, answer: dict[str, Any]) -> str | None:
        refusal = refusal_in(answer)
        if refusal is not None:
            fail(job.done, refusal)
            return None
        decoded = None if "failed" in answer else video_in(answer, process.frames(job.spec))
        if decoded is None:
            self._crashed(job, str(answer.get("failed", "bad_answer"))[:64])
            return "failed"
        succeed(job.done, decoded)
        return None

    def _crashed(self, job: _Job, cause: str) -> None:
        self._quarantine.record(job.digest)
        fields = {"request_id": job.context.request_id, "stage": "decode", "cause": cause, "clip": job.digest}
        log.warning("a clip ended its decoder", extra={FIELDS: fields})
        fail(job.done, _ended_its_decoder())


def _draining() -> Draining:
    return Draining("the service is shutting down: send the request again", retry_after_s=1)


def _ended_its_decoder() -> DecodeCrashed:
    return DecodeCrashed("the video's decoder ended: send it once more; if that fails, re-encoded as H.264 in MP4")
