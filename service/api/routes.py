"""The routes: thin, each hands over to what does the work."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.background import BackgroundTask

from contract.errors import InputError
from service.api.edge import context_of, log_operator_error
from service.api.feedback import add_feedback
from service.api.openapi import DESCRIPTION, REQUEST, responses
from service.api.problem import problem_response
from service.api.schemas import Problem, Ready, Verdict
from service.context import RequestContext
from service.errors import ClientGone, NotFound, ServiceError
from service.experiment.watch.view import ExperimentView, view_of
from service.metrics import Metrics
from service.pipeline import Components, classify
from service.readiness import Readiness

T = TypeVar("T")
_METRICS_TYPE = CONTENT_TYPE_LATEST.partition(";")[0]


def build_routes(parts: Components, readiness: Readiness, metrics: Metrics) -> APIRouter:
    """The router over the app's components."""
    router = APIRouter()

    @router.post(
        "/classify",
        response_model=Verdict,
        summary="Classify a video and its texts",
        description=DESCRIPTION,
        responses=responses(),
        openapi_extra=REQUEST,
        tags=["classification"],
    )
    async def post_classify(request: Request) -> Response:
        context = context_of(request.scope)
        try:
            verdict = await while_connected(request, classify(request, context, parts))
        except (ServiceError, InputError) as error:
            log_operator_error(error, context)
            return problem_response(error, context)
        body, after = verdict.model_dump_json(), BackgroundTask(_after_reply, context)
        return Response(body, media_type="application/json", background=after)

    add_feedback(router, parts)

    @router.head("/livez", include_in_schema=False)
    @router.get("/livez", summary="Whether the process answers", tags=["operation"])
    async def get_livez() -> dict[str, bool]:
        return {"live": True}

    @router.head("/readyz", include_in_schema=False)
    @router.get(
        "/readyz",
        summary="Whether requests are taken, and if not, why",
        response_model=Ready,
        responses={503: {"model": Ready, "description": "Not now."}},
        tags=["operation"],
    )
    async def get_readyz() -> Response:
        reasons = tuple(readiness.reasons())
        body = Ready(ready=not reasons, reasons=reasons).model_dump_json()
        return Response(body, 503 if reasons else 200, media_type="application/json")

    @router.get(
        "/experiments/{name}",
        summary="What this pod has seen of an experiment",
        response_model=ExperimentView,
        responses={404: {"description": "There is none of this name.", "model": Problem}},
        openapi_extra={"parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]},
        tags=["operation"],
    )
    async def get_experiment(request: Request) -> Response:
        view = view_of(parts.monitor, request.path_params["name"])
        if view is None:
            there_are = ", ".join(parts.monitor.plan.experiments)
            return problem_response(NotFound(f"there is no such experiment: {there_are}"), context_of(request.scope))
        return Response(view.model_dump_json(), media_type="application/json")

    if parts.settings.metrics_port is not None:  # served there instead
        return router

    @router.head("/metrics", include_in_schema=False)
    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses={200: {"description": "As text.", "content": {_METRICS_TYPE: {"schema": {"type": "string"}}}}},
        tags=["operation"],
    )
    async def get_metrics() -> Response:
        readiness.reasons()
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    return router


async def _after_reply(context: RequestContext) -> None:
    if context.after_reply is not None:
        context.after_reply()


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """``work``'s result; if the client leaves after its body was read, the work is cancelled.

    Raises:
        ClientGone: it left.
    """
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_disconnected(request, context_of(request.scope).body_read))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel(ClientGone.code)
            await asyncio.gather(task, return_exceptions=True)
            raise ClientGone("the client closed the connection")
        return task.result()
    finally:
        for waiting in (task, watcher):
            waiting.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


async def _disconnected(request: Request, body_read: asyncio.Event) -> None:
    """Returns once the client is gone. Starts to listen only when the body has been read."""
    await body_read.wait()
    while (await request.receive())["type"] != "http.disconnect":
        pass
