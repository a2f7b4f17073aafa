"""A service whose metrics have a port of their own."""

from __future__ import annotations

import socket

import httpx

from tests.integration.service.conftest import Start


def test_metrics_are_on_their_port_and_not_on_the_callers(start: Start) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    running = start(CPFD_METRICS_PORT=str(port))
    assert httpx.get(f"{running.url}/metrics").status_code == 404
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert "cpfd_ready 1.0" in text
    assert "cpfd_build_info{" in text
    assert running.stop() == 0
