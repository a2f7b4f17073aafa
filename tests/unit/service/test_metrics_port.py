"""/metrics on a port of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
import urllib.error
import urllib.request

import pytest

from service import metrics_port
from service.errors import StartError
from service.metrics import Metrics
from service.metrics_port import MetricsPort


@pytest.fixture
def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
        return number


def scrape(port: int, query: str = "") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics{query}", timeout=10) as answer:
        text: bytes = answer.read()
        return text.decode()


@pytest.mark.parametrize("query", ["", "?name[]=cpfd_ready"])
def test_a_scrape_shows_what_is_true_now(port: int, query: str) -> None:
    metrics, asked_on = Metrics(), []

    def refresh() -> None:
        asked_on.append(threading.current_thread())
        metrics.ready.set(len(asked_on))

    async def scraped() -> list[str]:
        listener = MetricsPort("127.0.0.1", port)
        listener.open(metrics.registry, refresh)
        try:
            return [await asyncio.to_thread(scrape, port, query) for _ in range(2)]
        finally:
            await listener.close()

    first, second = asyncio.run(scraped())
    assert "cpfd_ready 1.0" in first
    assert "cpfd_ready 2.0" in second
    assert set(asked_on) == {threading.main_thread()}
    with pytest.raises(urllib.error.URLError):
        scrape(port)


def test_a_scrape_is_answered_while_the_loop_is_stuck(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_port, "_REFRESH_S", 0.01)
    metrics = Metrics()

    async def scraped() -> str:
        listener = MetricsPort("127.0.0.1", port)
        listener.open(metrics.registry, lambda: metrics.ready.set(1))
        try:
            return scrape(port)  # holds the loop
        finally:
            await listener.close()

    assert "cpfd_ready 0.0" in asyncio.run(scraped())


def test_an_address_that_is_taken_stops_the_start(port: int) -> None:
    async def opened() -> None:
        MetricsPort("127.0.0.1", port).open(Metrics().registry, lambda: None)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(StartError, match=f"{port} for metrics"):
            asyncio.run(opened())
