"""POST /feedback: labels that come later -> the decision log."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from contract.decision_log import Feedback
from service.api.edge import context_of, log_operator_error
from service.api.openapi import FEEDBACK_DESCRIPTION, feedback_request, feedback_responses
from service.api.problem import problem_response
from service.api.schemas import FeedbackTaken
from service.bearer import shows_token
from service.context import RequestContext
from service.errors import (
    InvalidField,
    LogUnavailable,
    MalformedBody,
    NotFound,
    ServiceError,
    Unauthorized,
    UnsupportedContentType,
)
from service.experiment.log.feedback import LabelSets, read_item
from service.experiment.log.settings import FeedbackSettings
from service.pipeline import Components
from service.wire.body import BodyBounds, body_chunks, declared_length
from service.wire.capacity import peer_of
from service.wire.uploads import Uploading

_RETRY_AFTER_S = 5


def add_feedback(router: APIRouter, parts: Components) -> None:
    """Adds the route."""
    labels = LabelSets(task for bundle in parts.arms.bundles.values() for task in bundle.manifest.tasks)

    @router.post(
        "/feedback",
        response_model=FeedbackTaken,
        summary="Tell what a video truly shows",
        description=FEEDBACK_DESCRIPTION,
        responses=feedback_responses(),
        openapi_extra=feedback_request(),
        tags=["experiment"],
    )
    async def post_feedback(request: Request) -> Response:
        context = context_of(request.scope)
        try:
            taken = await take_feedback(request, context, parts, labels)
        except ServiceError as error:
            log_operator_error(error, context)
            return problem_response(error, context)
        return Response(taken.model_dump_json(), media_type="application/json")


async def take_feedback(
    request: Request, context: RequestContext, parts: Components, labels: LabelSets
) -> FeedbackTaken:
    """Every label of the body, on the disk; or none.

    Raises:
        CallerError: see ``service.errors``: nothing of it was taken.
        LogUnavailable: it is not on the disk.
    """
    settings = parts.settings.feedback
    if not parts.log.kept:
        raise NotFound("this service keeps no decision log, and so no feedback: its operator sets log.directory")
    _authorise(request, settings)
    peer = peer_of(request.client.host if request.client else None)
    with parts.uploads.admit(peer, _declared(request, settings)) as permit, context.in_stage("fetch"):
        context.deadline = context.started + parts.settings.deadline.default_ms / 1000
        body = await _body(request, context, settings, permit)
    records = await asyncio.to_thread(_records, body, settings, labels)  # a thousand of them take a while
    with context.in_stage("log"):
        # Never counted as lost, whatever settings say of decisions: its sender can send it again.
        if not await parts.log.stored(*records):
            raise LogUnavailable("the decision log cannot be written now: send it again", retry_after_s=_RETRY_AFTER_S)
    return FeedbackTaken(taken=len(records))


def _authorise(request: Request, settings: FeedbackSettings) -> None:
    if settings.token is not None and not shows_token(request.headers.get("authorization"), settings.token):
        raise Unauthorized("send Authorization: Bearer with the token that the operator gave you")


def _declared(request: Request, settings: FeedbackSettings) -> int:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" or request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedContentType("send application/json, uncompressed")
    return declared_length(request, _bounds(settings))


async def _body(request: Request, context: RequestContext, settings: FeedbackSettings, permit: Uploading) -> bytes:
    bounds = _bounds(settings)
    async with permit.paced(context.deadline - time.monotonic()):
        body = b"".join([chunk async for chunk in body_chunks(request, bounds, permit)])
    context.body_read.set()
    if not body:
        raise bounds.empty()
    return body


def _records(body: bytes, settings: FeedbackSettings, labels: LabelSets) -> list[Feedback]:
    try:
        given: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedBody("the body is not JSON in UTF-8") from None
    items = given if isinstance(given, list) else [given]
    if not 1 <= len(items) <= settings.max_items:
        raise InvalidField(f"send 1 to {settings.max_items} labels at once")
    now, found = time.time_ns() // 1_000_000, []
    for number, one in enumerate(items):
        item = read_item(one)
        fault = item if isinstance(item, str) else labels.fault(item)
        if fault is not None or isinstance(item, str):
            raise InvalidField(f"item {number}: {fault}; nothing of the body was taken")
        found.append(item.record(now))
    return found


def _bounds(settings: FeedbackSettings) -> BodyBounds:
    return BodyBounds(
        settings.max_bytes, if_empty="send one feedback object, or a list of them", if_larger="send it in parts"
    )
