"""The edge: the last resort, one line a request, silent probes, bounded labels."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Message

from service.api.edge import Edge, context_of
from service.api.routes import while_connected
from service.errors import ClientGone
from service.logs import FIELDS
from service.metrics import Metrics


async def breaks(request: Request) -> PlainTextResponse:
    context_of(request.scope).stage = "decode"
    raise RuntimeError("/secret/path")


async def works(request: Request) -> PlainTextResponse:
    return PlainTextResponse(context_of(request.scope).request_id)


def call(path: str, metrics: Metrics, **headers: str) -> httpx.Response:
    routes = [Route("/classify", breaks), Route("/livez", works)]
    app = Starlette(routes=routes, middleware=[Middleware(Edge, metrics=metrics)])

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


def test_a_defect_is_a_typed_500_that_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    with caplog.at_level(logging.INFO):
        response = call("/classify", metrics, **{"X-Request-Id": "r1"})
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert (response.json()["stage"], response.headers["x-request-id"]) == ("decode", "r1")
    assert "secret" not in response.text
    failure, line = [record for record in caplog.records if record.name.startswith("service")]
    assert failure.levelname == "ERROR"
    assert getattr(line, FIELDS)["code"] == "internal_error"
    labels = {"route": "/classify", "code": "internal_error", "arm": "none", "outcome": "failed"}
    assert metrics.registry.get_sample_value("cpfd_requests_total", labels) == 1


def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    metrics, sent = Metrics(), []

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("/secret/path")

    async def send(message: Message) -> None:
        sent.append(message["type"])

    scope = {"type": "http", "headers": [], "path": "/elsewhere"}
    asyncio.run(Edge(app, metrics)(scope, None, send))  # type: ignore[arg-type]
    assert sent == ["http.response.start"]
    labels = {"route": "other", "code": "internal_error", "arm": "none", "outcome": "failed"}
    assert metrics.registry.get_sample_value("cpfd_requests_total", labels) == 1


def test_probes_are_silent_but_counted(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    with caplog.at_level(logging.INFO, logger="service"):
        assert call("/livez", metrics, **{"X-Request-Id": "p"}).text == "p"
    assert not caplog.records
    labels = {"route": "/livez", "code": "ok", "arm": "none", "outcome": "answered"}
    assert metrics.registry.get_sample_value("cpfd_requests_total", labels) == 1


def test_work_is_cancelled_when_the_client_leaves_but_not_while_its_body_is_read() -> None:
    async def scenario() -> None:
        left, cancelled = asyncio.Event(), asyncio.Event()

        async def receive() -> dict[str, object]:
            await left.wait()
            return {"type": "http.disconnect"}

        scope = {"type": "http", "headers": [], "path": "/"}
        metrics = Metrics()

        async def app(scope, receive, send):  # type: ignore[no-untyped-def]
            request = Request(scope, receive)

            async def work() -> None:
                try:
                    await asyncio.sleep(0.05)
                    assert not cancelled.is_set()
                    context_of(scope).body_read.set()
                    await asyncio.sleep(5)
                finally:
                    cancelled.set()

            with pytest.raises(ClientGone):
                await while_connected(request, work())

        left.set()
        async with asyncio.timeout(2):
            await Edge(app, metrics)(scope, receive, None)  # type: ignore[arg-type]
        assert cancelled.is_set()

    asyncio.run(scenario())
