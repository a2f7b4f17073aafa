"""Futures that carry one caller's outcome: resolved once, by whoever owns the work, or given up by the caller."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


def succeed(outcome: asyncio.Future[T], value: T) -> None:
    """Resolves it, unless it is resolved or nobody waits."""
    if not outcome.done():
        outcome.set_result(value)


def fail(outcome: asyncio.Future[T], error: Exception) -> None:
    """Resolves it with an error, unless it is resolved or nobody waits."""
    if not outcome.done():
        outcome.set_exception(error)


async def wait_for_outcome(outcome: asyncio.Future[T], timeout_s: float | None) -> T:
    """The outcome's value or error; afterwards nobody can resolve it any more, and no error in it goes unread.

    Args:
        outcome: resolved by whoever owns the work.
        timeout_s: None: for as long as it takes.

    Raises:
        TimeoutError: it did not come in time.
    """
    try:
        async with asyncio.timeout(None if timeout_s is None else max(0.0, timeout_s)):
            return await outcome
    finally:
        if not outcome.cancel() and not outcome.cancelled():
            outcome.exception()
