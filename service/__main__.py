"""python -m service: settings -> app -> uvicorn. Exit 0 after a drain, 1 where it must not serve."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from types import FrameType
from typing import Any

import uvicorn

from service.app import Service, create_app
from service.errors import StartError
from service.head_bounds import counted_in
from service.logs import FIELDS, configure_logs
from service.sandbox.kernel import hide_process
from service.sandbox.protections import Protection
from service.settings import Settings, read_settings

log = logging.getLogger("service")


class DrainingServer(uvicorn.Server):
    """uvicorn, except that a first SIGTERM or SIGINT drains the service before the listener closes."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._drain: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[Any] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._service.on_failure = self._stop
        await super().serve(sockets)

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        for listener in (listener for server in self.servers for listener in server.sockets):
            host, port = listener.getsockname()[:2]
            log.info("listening", extra={FIELDS: {"host": host, "port": port, "docs": f"http://{host}:{port}/docs"}})

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


def _hide(settings: Settings) -> None:
    """Closes this process, whose memory holds uploads and credentials, to others of the same user."""
    if Protection.HIDDEN in settings.decode.sandbox.omitted:
        return
    try:
        hide_process()
    except OSError as error:
        log.warning("the service is not hidden from processes of its own user: %s", error.strerror)


def main() -> int:
    """Serves until told to stop; returns the exit code."""
    try:
        settings = read_settings()
        configure_logs(settings.log_level)
        _hide(settings)
        app = create_app(settings)
    except StartError as error:
        sys.stderr.write(f"cpfd: {error.detail}\n")
        return 1
    service: Service = app.state.service
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        http=counted_in(service.metrics),
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=5,
    )
    server = DrainingServer(config, service)
    try:
        server.run()
    except SystemExit:  # uvicorn's word for an address it cannot have
        sys.stderr.write(f"cpfd: cannot listen on {settings.host}:{settings.port}: is it in use?\n")
        return 1
    if service.failure is not None:
        sys.stderr.write(f"cpfd: {service.failure.detail}\n")
        return 1
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
