"""Waits for what has no event to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_PATIENCE_S = 30


async def until(condition: Callable[[], bool]) -> None:
    """Returns when it holds.

    Raises:
        TimeoutError: it does not within half a minute.
    """
    async with asyncio.timeout(_PATIENCE_S):
        while not condition():  # noqa: ASYNC110  what is awaited has no event
            await asyncio.sleep(0.002)
