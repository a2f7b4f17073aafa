"""A decode worker: the process in which native code meets hostile bytes. It may die; that is what it is for.

    python -m service.stages.decode_worker BACKEND SOCKET_FD SLOT_FD SLOT_BYTES MEMORY_BYTES CPU_SECONDS

The parent sends one job at a time over the socket: a line of JSON and the clip's open file. The worker writes
the frames into the slot (memory shared with the parent) and answers with a line of JSON. Behind the frames the slot
holds the number of the job that is wanted no more, which is looked at between two packets. It trusts the parent;
the parent believes nothing of it but plain values (so: no pickles). It has no name on disk to write to, no
environment, and no output but the socket (and stderr until it is confined).
"""

from __future__ import annotations

import array
import ctypes
import importlib
import json
import mmap
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from contract.errors import InputError, Stopped
from contract.input_spec import InputSpec
from contract.video import Backend, DecodeLimits, Frames, decode, decode_cost

READY = {"ready": True}
STOP_BYTES = 8
"""Behind the frames in the slot: the number of the job to stop, in the machine's byte order."""
MAX_LINE = 65_536
_PR_SET_PDEATHSIG = 1


def load(backend: Backend) -> None:
    """Loads what would else be loaded by the first clip: where that fails, no clip may be blamed."""
    if backend is Backend.DECORD:
        importlib.import_module("decord")


def confine(memory_bytes: int) -> None:
    """Bounds this process: mute, address space, no files written, no core dumps, dies with its parent."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # decoders write what they read to stderr
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def allow_cpu(seconds: int) -> None:
    """Gives the next job so much CPU time; past it the kernel ends the process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + 1 + seconds, hard))


def receive_job(connection: socket.socket) -> tuple[dict[str, Any], int] | None:
    """The next job and the file descriptor of its clip; None once the parent is gone."""
    data, descriptors = b"", array.array("i")
    while not data.endswith(b"\n"):
        more, received, _, _ = socket.recv_fds(connection, MAX_LINE, 1)
        descriptors.extend(received)
        if not more:
            return None
        data += more
    return json.loads(data), descriptors[0]


def run_job(job: dict[str, Any], descriptor: int, slot: mmap.mmap) -> dict[str, Any]:
    """The answer to one job: its cost, or frames in the slot; a typed refusal, or the name of what went wrong."""
    spec, limits = InputSpec.model_validate(job["spec"]), DecodeLimits.model_validate(job["limits"])
    path, stop = Path(f"/proc/self/fd/{descriptor}"), _stop_of(job["number"], slot)
    size = int(np.prod(spec.frames_shape))
    out = np.frombuffer(slot, np.uint8, count=size).reshape(spec.frames_shape)
    try:
        if job["task"] == "cost":
            cost = decode_cost(path, spec, limits, stop=stop)
            return {"cost": None if cost is None else vars(cost)}
        return _described(decode(path, spec, limits, out=out, stop=stop))
    except InputError as error:
        return {"refused": error.code, "detail": error.detail}
    except Stopped:
        return {"stopped": True}
    except Exception as error:  # hostile bytes may raise anything: the parent counts it and replaces this worker
        return {"failed": type(error).__name__}
    finally:
        del out


def _stop_of(number: int, slot: mmap.mmap) -> Callable[[], bool]:
    """Whether the parent wants the job no more."""
    at, wanted = len(slot) - STOP_BYTES, number.to_bytes(STOP_BYTES, sys.byteorder)
    return lambda: slot[at:] == wanted


def _described(frames: Frames) -> dict[str, Any]:
    probe = frames.probe
    return {
        "times_ms": list(frames.times_ms),
        "container": probe.container,
        "codec": probe.codec,
        "width": probe.width,
        "height": probe.height,
        "duration_ms": round(probe.end_s * 1000, 3),
    }


def main(arguments: list[str]) -> None:
    """Serves jobs until the parent closes the socket."""
    socket_fd, slot_fd, slot_bytes, memory_bytes, cpu_seconds = map(int, arguments[1:])
    load(Backend(arguments[0]))
    confine(memory_bytes)
    slot = mmap.mmap(slot_fd, slot_bytes + STOP_BYTES)
    with socket.socket(fileno=socket_fd) as connection:
        answer: dict[str, Any] = READY
        while True:
            connection.sendall(json.dumps(answer).encode() + b"\n")
            received = receive_job(connection)
            if received is None:
                return
            job, descriptor = received
            allow_cpu(cpu_seconds)
            try:
                answer = run_job(job, descriptor, slot)
            finally:
                os.close(descriptor)


if __name__ == "__main__":
    main(sys.argv[1:])
