"""Tells at once when a process is gone."""

from __future__ import annotations

import asyncio
import os
from types import TracebackType


class Ending:
    """Watches one child of this process. ``gone`` is resolved once it has ended (it still has to be reaped).

    Args:
        pid: of the child.
    """

    def __init__(self, pid: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._descriptor = os.pidfd_open(pid)
        self._loop.add_reader(self._descriptor, self._noticed)

    def _noticed(self) -> None:
        self._loop.remove_reader(self._descriptor)
        if not self.gone.done():
            self.gone.set_result(None)

    def __enter__(self) -> Ending:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
