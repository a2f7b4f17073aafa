"""``/metrics`` on a port of its own, so that who may scrape and who may classify can be told apart.

Served by prometheus-client from a thread: a scrape is answered also while the event loop is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.registry import Collector

from service.errors import StartError

_REFRESH_S = 1.0
"""How long a scrape waits for the event loop before it shows what was last known."""


class Refreshed(Collector):
    """A registry whose gauges are brought up to date, on the event loop, before it is read from another thread.

    Args:
        registry: what is read.
        refresh: sets the gauges.
        loop: where that is called.
    """

    def __init__(
        self, registry: CollectorRegistry, refresh: Callable[[], object], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._registry = registry
        self._refresh = refresh
        self._loop = loop

    def collect(self) -> Iterable[Metric]:
        self._bring_up_to_date()
        return self._registry.collect()

    def restricted_registry(self, names: Iterable[str]) -> Collector:
        """What ``?name[]=`` asks for."""
        self._bring_up_to_date()
        restricted: Collector = self._registry.restricted_registry(names)
        return restricted

    def _bring_up_to_date(self) -> None:
        done = threading.Event()

        def on_the_loop() -> None:
            self._refresh()
            done.set()

        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(on_the_loop)
            done.wait(_REFRESH_S)


class MetricsPort:
    """The listener; none where ``port`` is None."""

    def __init__(self, host: str, port: int | None) -> None:
        self._host = host
        self._port = port
        self._close: Callable[[], None] = lambda: None

    def open(self, registry: CollectorRegistry, refresh: Callable[[], object]) -> None:
        """Listens. Called on the event loop.

        Raises:
            StartError: the address is taken.
        """
        if self._port is None:
            return
        readable = Refreshed(registry, refresh, asyncio.get_running_loop())
        try:
            server, thread = start_http_server(self._port, self._host, readable)
        except OSError:
            raise StartError(f"cannot listen on {self._host}:{self._port} for metrics: is it in use?") from None

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self._close = close

    async def close(self) -> None:
        """Listens no more."""
        await asyncio.to_thread(self._close)
