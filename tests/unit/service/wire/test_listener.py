"""Accepting where there is no descriptor: logged, answered, and going on afterwards."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Any

import pytest

from service.errors import StartError
from service.metrics import Metrics
from service.settings import ConnectionSettings
from service.wire.capacity import Capacity
from service.wire.listener import Listener, bind


class Exhausted:
    """A listening socket that finds no descriptor so many times."""

    def __init__(self, real: socket.socket, times: int) -> None:
        self._real, self.times = real, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def accept(self) -> Any:
        if self.times:
            self.times -= 1
            raise OSError(errno.EMFILE, "too many open files")
        return self._real.accept()


class Greets(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"welcome")
        transport.close()


async def ask(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = await reader.read()
    writer.close()
    return said


def test_without_a_descriptor_callers_are_told_to_come_back(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()

    async def scenario() -> None:
        (bound,) = bind("127.0.0.1", 0)
        listener = Listener(bound, lambda _: Greets(), Capacity(ConnectionSettings(), 99, metrics), metrics)
        exhausted = Exhausted(bound, times=1)
        listener._socket = exhausted  # type: ignore[assignment]
        port = bound.getsockname()[1]
        async with asyncio.timeout(20):
            answers = [await ask(port)]  # by the spare descriptor, which is then taken anew
            assert listener._spare is not None
            os.close(listener._spare)
            listener._spare, exhausted.times = None, 1
            answers.append(await ask(port))  # after a pause
            exhausted.times = 1
            answers.append(await ask(port))
        listener.close()
        await listener.wait_closed()
        for told in (answers[0], answers[2]):
            assert told.startswith(b"HTTP/1.1 503 ")
            assert b"too_many_connections" in told
        assert answers[1] == b"welcome"

    asyncio.run(scenario())
    assert sum("out of descriptors (EMFILE)" in line for line in caplog.messages) == 1
    assert metrics.registry.get_sample_value("cpfd_connections_ended_total", {"reason": "descriptors"}) == 3


def test_an_address_that_cannot_be_had_is_named() -> None:
    (taken,) = bind("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with pytest.raises(StartError, match=f"127.0.0.1:{port}"):
        bind("127.0.0.1", port)
    with pytest.raises(StartError, match=r"no\.such\.host\.invalid"):
        bind("no.such.host.invalid", 0)
    taken.close()


def test_the_unspecified_address_of_ipv6_hears_both_families() -> None:
    (both,) = bind("::", 0)
    socket.create_connection(("127.0.0.1", both.getsockname()[1])).close()
    socket.create_connection(("::1", both.getsockname()[1])).close()
    both.close()
