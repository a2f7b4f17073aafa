"""Builds the components, starts and drains them. No logic, and nothing happens at import.

create_app(settings)   verifies the bundles and wires everything; raises StartError
lifespan               loads, warms and proves the arms in the background while /livez already answers
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import metadata
from typing import Any

import onnxruntime
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from service.api.edge import Edge, context_of, count_from_zero
from service.api.openapi import with_problem_schema
from service.api.problem import problem_response
from service.api.routes import build_routes
from service.context import RequestContext
from service.errors import StartError
from service.experiment.arms import Arms, read_bundles
from service.experiment.assigner import Assigner
from service.experiment.golden import GoldenReplays
from service.experiment.log.endings import Endings
from service.experiment.log.writer import DecisionLog, NullLog
from service.experiment.plan import Plan
from service.experiment.shadow import Scavenger
from service.experiment.watch.monitor import Monitor
from service.judge import Judge
from service.metrics import Metrics
from service.metrics_port import MetricsPort
from service.pipeline import Components
from service.readiness import Readiness
from service.scheduling.backlog import Backlog
from service.scheduling.policy import Priority
from service.scheduling.standing import Standing
from service.settings import Settings, read_settings
from service.stages.admission import Admission
from service.stages.decode import DecodePool, decode_workers
from service.stages.inference import Lanes, refuse_double_runtime
from service.stages.spool import check_spool
from service.wire.uploads import Uploads

log = logging.getLogger(__name__)


class Service:
    """The app's components and their life.

    Args:
        settings: everything configurable.

    Raises:
        StartError: a bundle must not be served, or the environment is broken.
    """

    def __init__(self, settings: Settings) -> None:
        refuse_double_runtime()
        check_spool(settings.body.spool_directory)
        self.settings = settings
        self.metrics = Metrics()
        self._metrics_port = MetricsPort(settings.host, settings.metrics_port)
        self.failure: StartError | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self.on_ready: Callable[[], None] = lambda: None
        bundles = read_bundles(settings.arms)
        self._slot_bytes = max(math.prod(bundle.manifest.input_spec.frames_shape) for bundle in bundles.values())
        self._lanes = Lanes(settings.lanes.effective_count, shares_cores=settings.lanes.provider == "cpu")
        workers = decode_workers(settings.decode)
        self.backlog = Backlog(
            settings.admission.max_seconds_of_work,
            workers,
            self._lanes.count,
            self.metrics,
            shares_cores=self._lanes.shares_cores and self._lanes.count >= workers,
        )
        self.decode = DecodePool(
            settings.decode, self._slot_bytes, self.backlog, self.metrics, settings.body.spool_directory
        )
        self.arms = Arms(bundles, self._lanes, settings.lanes, self.metrics)
        plan = Plan(settings.arms, settings.experiment, settings.experiments)
        self.monitor = Monitor(plan, settings.experiment, bundles, self.metrics)
        self.log = DecisionLog(settings.log, self.metrics) if settings.log.directory is not None else NullLog()
        assigner = Assigner(plan, self.arms, self.monitor, self.log)
        self.standing = Standing(settings.admission.max_wasted_seconds)
        self.readiness = Readiness(self._faults, self.metrics)
        self.uploads = Uploads(settings.uploads, settings.body.stall_seconds, self.readiness.refusal, self.metrics)
        # What was let in before a drain began is worked on: only uploads are refused for the state of the service.
        self.admission = Admission(settings.admission, lambda: None, self.backlog.overloaded, self.metrics)
        self.judge = Judge(assigner, self.decode, self.backlog, self.metrics)
        self.scavenger = Scavenger(
            settings.experiment, self.arms, self._lanes, self.backlog, self.monitor, self.log, self.metrics
        )
        self.parts = Components(
            settings,
            self.metrics,
            self.standing,
            self.uploads,
            self.admission,
            self.judge,
            self.arms,
            self.monitor,
            self.scavenger,
            self.log,
            Endings(self.log, bundles),
        )
        self.metrics.build_info.labels(version(), onnxruntime.__version__).set(1)

    def ended(self, context: RequestContext, outcome: str) -> None:
        """To be told of each request that is over."""
        self.monitor.ended(context, outcome)
        if context.peer:
            self.standing.ended(
                context.peer,
                context.code,
                context.timings_ms,
                deadline_chosen=context.deadline_chosen,
                last=context.priority is Priority.LAST,
            )

    def _faults(self) -> list[str]:
        if self.failure is not None:
            return ["the start failed; the log says why"]
        stuck_after_s = self.settings.deadline.max_ms / 1000
        return self.arms.faults(stuck_after_s) + self.decode.faults() + self.log.faults()

    async def start(self) -> None:
        """Prepares everything; afterwards the service is ready, or ``failure`` says why it never will be."""
        self.decode.start()
        await asyncio.to_thread(self.log.start)
        self.monitor.start()
        try:
            self._metrics_port.open(self.metrics.registry, self.readiness.reasons)
            async with GoldenReplays(self.settings.decode, self._slot_bytes) as replays:
                await self.arms.prepare(replays, shadowed=self.settings.experiment.shadow_rate > 0)
        except StartError as error:
            self.failure = error
            log.error("start failed: %s", error.detail)
            self.on_failure()
            return
        self.scavenger.start()
        self.on_ready()
        self.readiness.started = True
        log.info("ready")

    async def drain(self) -> None:
        """Takes nothing new; returns when nothing is in flight and the notice has passed, or when time is up."""
        self.readiness.draining = True
        bounds, loop = self.settings.drain, asyncio.get_running_loop()
        began = loop.time()
        log.info("draining")
        while loop.time() - began < bounds.max_seconds:
            if self.uploads.count + self.admission.requests == 0 and loop.time() - began >= bounds.notice_seconds:
                return
            await asyncio.sleep(0.05)
        log.warning("requests were still in flight when the drain ended")

    async def close(self) -> None:
        await self.scavenger.close()
        await self.judge.close()
        await self.monitor.close()
        await self.arms.close()
        await self.decode.close()
        await self.log.close()
        await self._metrics_port.close()
        self._lanes.close()


def version() -> str:
    """The installed version, ``0+source`` from a checkout."""
    try:
        return metadata.version("cpfd")
    except metadata.PackageNotFoundError:
        return "0+source"


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI app. ``app.state.service`` is its Service.

    Args:
        settings: None: read from file and environment.

    Raises:
        StartError: it must not serve.
    """
    service = Service(settings or read_settings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(service.start(), name="start")
        try:
            yield
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await service.close()

    app = FastAPI(
        title="CPFD video classification",
        version=version(),
        summary="Videos and their texts -> calibrated verdicts for content moderation",
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.include_router(build_routes(service.parts, service.readiness, service.metrics))
    count_from_zero(service.metrics, (arm.name for arm in service.settings.arms))
    app.add_middleware(Edge, metrics=service.metrics, ended=service.ended)

    @app.exception_handler(HTTPException)
    async def typed(request: Request, error: HTTPException) -> Response:
        return problem_response(error, context_of(request.scope))

    build_openapi = app.openapi

    def openapi() -> dict[str, Any]:
        return with_problem_schema(build_openapi())

    app.openapi = openapi  # type: ignore[method-assign]
    return app
