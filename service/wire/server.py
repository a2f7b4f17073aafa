"""uvicorn's server (lifespan, signals, loop, shutdown) with our listener, and with a drain before it closes."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from service.app import Service
from service.heap import settle
from service.logs import FIELDS
from service.wire.capacity import Capacity, Place, affordable_connections
from service.wire.connection import Common, Connection
from service.wire.listener import Listener

log = logging.getLogger("service")
_BACKSTOP_MARGIN_S = 30.0
_SHUTDOWN_S = 5


class DrainingServer(uvicorn.Server):
    """uvicorn, except that a first SIGTERM or SIGINT drains the service before the listener closes.

    Args:
        app: the ASGI app of ``service``.
        service: drained first.
        bound: sockets to listen on.
    """

    def __init__(self, app: Any, service: Service, bound: list[socket.socket]) -> None:
        proxies = list(service.settings.connection.trusted_proxies)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                server_header=False,
                proxy_headers=bool(proxies),
                forwarded_allow_ips=proxies,
                timeout_graceful_shutdown=_SHUTDOWN_S,
            )
        )
        self._service = service
        self._bound = bound
        self._drain: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[Any] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._service.on_failure = self._stop
        self._service.on_ready = _settle
        await super().serve(sockets)

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        common = self._common()

        def connection(place: Place) -> Connection:
            return Connection(common, place)

        listeners = [Listener(made, connection, common.capacity, common.metrics) for made in self._bound]
        self.servers = listeners  # type: ignore[assignment]  # uvicorn closes them, and awaits that they are closed
        self.started = True
        for host, port in (listener.address for listener in listeners):
            url = f"http://[{host}]:{port}/docs" if ":" in host else f"http://{host}:{port}/docs"
            log.info("listening", extra={FIELDS: {"host": host, "port": port, "docs": url}})

    def _common(self) -> Common:
        service, settings = self._service, self._service.settings
        wanted = settings.connection.max_total
        # Work in flight has a handle of its own: it may outlive the request that brought the clip.
        spooled = settings.uploads.max_count + 2 * service.admission.max_requests
        afforded = affordable_connections(wanted, spooled, service.decode.processes)
        if afforded < wanted:
            log.warning("the limit of open files allows %d connections, not %d: raise it", afforded, wanted)
        return Common(
            app=self.config.loaded_app,
            settings=settings.connection,
            keep_alive_seconds=settings.keep_alive_seconds,
            backstop_seconds=settings.deadline.max_ms / 1000 + _BACKSTOP_MARGIN_S,
            capacity=Capacity(settings.connection, afforded, service.metrics),
            metrics=service.metrics,
            draining=lambda: service.readiness.draining,
            server=self.server_state,
            state=self.lifespan.state,
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain, then stop. Second: stop now. (The parent class would re-raise it: exit is not 0.)"""
        if self._loop is None or self._drain is not None or self.should_exit:
            self.should_exit = True
            self.force_exit = sig == signal.SIGINT
            return
        self._service.readiness.draining = True
        self._loop.call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        self._drain = asyncio.ensure_future(self._service.drain())
        self._drain.add_done_callback(lambda _: self._stop())

    def _stop(self) -> None:
        self.should_exit = True


def _settle() -> None:
    log.info("settled", extra={FIELDS: {"objects": settle()}})
