"""A decode worker that does what a clip tells it to, for tests and drills: hang, crash, take memory, never end.

    faulty(clip, "spin")               the clip, now with an order in a box that every reader skips
    service.decoding.start._MODULE = "benchmarks.faulty_worker"     makes the service start these workers

The service itself knows nothing of this: no setting and no upload makes a real worker obey.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from service.decoding import worker as decode_worker

_MARK = b"CPFD-FAULT:"
_ORDER_BYTES = 64
FAULTS = ("spin", "abort", "segfault", "bomb", "killed", "raise", "patient")
"""``spin`` never looks up; ``patient`` goes on until it is stopped; ``killed`` ends as if from outside."""


def faulty(clip: bytes, fault: str, task: str = "decode", mark: str = "") -> bytes:
    """The MP4 with an order for the worker.

    Args:
        clip: as it was.
        fault: one of FAULTS.
        task: at which question it strikes, ``cost`` or ``decode``.
        mark: anything; makes the bytes differ.
    """
    order = _MARK + f"{fault}:{task}:{mark}:".encode()
    return clip + (8 + _ORDER_BYTES).to_bytes(4, "big") + b"free" + order.ljust(_ORDER_BYTES, b" ")


def _order(descriptor: int) -> tuple[str, str]:
    """Fault and task that the clip orders, or two empty words."""
    tail = os.pread(descriptor, _ORDER_BYTES, max(0, os.fstat(descriptor).st_size - _ORDER_BYTES))
    if not tail.startswith(_MARK):
        return "", ""
    fault, task, *_ = tail[len(_MARK) :].decode().split(":")
    return fault, task


def _strike(fault: str, stop: Callable[[], bool]) -> None:
    if fault == "spin":
        while True:
            pass
    if fault == "abort":
        os.abort()
    if fault == "segfault":
        ctypes.string_at(0)
    if fault == "bomb":
        held = []
        while True:
            held.append(bytearray(64 << 20))
    if fault == "killed":
        signal.raise_signal(signal.SIGKILL)
    if fault == "raise":
        raise RuntimeError("ordered")
    while fault == "patient" and not stop():
        time.sleep(0.002)


def _obeying(task: str, really: Callable[..., Any]) -> Callable[..., Any]:
    def obey(descriptor: int, *arguments: Any, stop: Callable[[], bool], **options: Any) -> Any:
        fault, at = _order(descriptor)
        if at == task:
            _strike(fault, stop)
        return really(descriptor, *arguments, stop=stop, **options)

    return obey


if __name__ == "__main__":
    decode_worker.decode = _obeying("decode", decode_worker.decode)  # type: ignore[assignment]
    decode_worker.decode_cost = _obeying("cost", decode_worker.decode_cost)  # type: ignore[assignment]
    decode_worker.main(sys.argv[1:])
