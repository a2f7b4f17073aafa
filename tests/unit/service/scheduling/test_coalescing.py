"""Where no descriptor is left for the work's own copy of a clip."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from typing import Never

import pytest

from service.context import Progress
from service.errors import StorageExhausted
from service.scheduling import coalescing
from service.scheduling.coalescing import Flight, Flights
from service.scheduling.policy import Priority


def test_a_clip_that_cannot_be_opened_once_more_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> Never:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def work(_: Flight[str]) -> str:
        return "done"

    async def scenario() -> None:
        flights: Flights[str] = Flights()
        with monkeypatch.context() as patched:
            patched.setattr(coalescing.os, "dup", full)
            with pytest.raises(StorageExhausted):
                await flights.join("clip", 0, waiter(), Progress(), work)
        assert len(flights) == 0
        assert await flights.join("clip", 0, waiter(), Progress(), work) == ("done", False)

    asyncio.run(scenario())


def waiter() -> tuple[float, Priority]:
    return time.monotonic() + 5, Priority.INTERACTIVE
