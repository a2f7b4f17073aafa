"""Processes that end when the one that started them does, even by a kill: no orphan trains on."""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any


def end_with_parent(_: int = 0) -> None:
    """Ends this process when its parent ends. To be called in it first, as the initialiser of a pool or a loader."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_exit, args=(parent,), daemon=True).start()


def _wait_and_exit(parent: Any) -> None:
    parent.join()
    os._exit(1)
