"""A decode worker: the process in which native code meets hostile bytes. It may die; that is what it is for.

    python -m service.decoding.worker worker SOCKET_FD SLOT_FD BACKEND SLOT_BYTES MEMORY_BYTES CPU_SECONDS SANDBOX
        SPOOL

or forked from a process that has loaded all it needs (``nursery``).

The parent sends one job at a time over the socket: a line of JSON and the clip's open file. The worker writes
the frames into the slot (memory shared with the parent) and answers with a line of JSON. Behind the frames the slot
holds the number of the job that is wanted no more, which is looked at between two packets, and a sign that it was
looked at. It trusts the parent; the parent believes nothing of it but plain values (so: no pickles). It has no name on
disk to write to, no environment, and no output but the socket (and stderr until it is ready); what else it lacks is in
``service.sandbox``.
"""

from __future__ import annotations

import importlib
import itertools
import json
import mmap
import os
import pkgutil
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from contract.errors import InputError, Stopped
from contract.input_spec import InputSpec
from contract.video import Backend, DecodeLimits, Frames, decode, decode_cost
from service.cores import step_back
from service.decoding.lines import receive
from service.decoding.nursery import serve
from service.sandbox.confine import Confinement, confine
from service.sandbox.kernel import name_process
from service.sandbox.protections import Applied, SandboxSettings
from service.sandbox.rehearsal import Rehearsal

NAME = "decode-worker"
READY: dict[str, Any] = {"ready": True}
SIGN_BYTES, STOP_BYTES = 8, 8
TAIL_BYTES = SIGN_BYTES + STOP_BYTES
"""Behind the frames in the slot, in the machine's byte order: how many packets the worker has come to in its life, and
the number of the job to stop."""
_packets = itertools.count(1)
_NO_DECODERS = ("av.__main__", "av.datasets")
"""A command, and a downloader that brings the standard library's HTTP client."""


def load(backend: Backend) -> None:
    """Loads what would else be loaded by the first clip that needs it: confined, this process can load nothing."""
    for module in pkgutil.walk_packages(av.__path__, "av."):  # a stream's own module: subtitles, data, attachments
        if module.name not in _NO_DECODERS:
            importlib.import_module(module.name)
    if backend is Backend.DECORD:
        importlib.import_module("decord")


def prepare(backend: Backend, wanted: Confinement) -> Applied:
    """Loads the decoder, confines this process, and proves that it still decodes; then it is mute and writes no file.

    Raises:
        ProtectionLacking, RehearsalFailed: it must not take jobs.
    """
    load(backend)
    step_back()
    rehearsal = Rehearsal(backend)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    applied = confine(wanted)
    rehearsal.repeat()
    os.dup2(nowhere, 2)  # decoders write what they read to stderr
    os.close(nowhere)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    return applied


def allow_cpu(seconds: int) -> None:
    """Gives the next job so much CPU time; past it the kernel ends the process."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(_cpu_seconds()) + 1 + seconds, hard))


def run_job(job: dict[str, Any], descriptor: int, slot: mmap.mmap) -> dict[str, Any]:
    """The answer to one job: its cost, or frames in the slot; a typed refusal, or the name of what went wrong."""
    spec, limits = InputSpec.model_validate(job["spec"]), DecodeLimits.model_validate(job["limits"])
    stop = _stop_of(job["number"], slot)
    size = int(np.prod(spec.frames_shape))
    out = np.frombuffer(slot, np.uint8, count=size).reshape(spec.frames_shape)
    try:
        if job["task"] == "cost":
            cost = decode_cost(descriptor, spec, limits, stop=stop)
            return {"cost": None if cost is None else vars(cost)}
        return _described(decode(descriptor, spec, limits, out=out, stop=stop))
    except InputError as error:
        return {"refused": error.code, "detail": error.detail}
    except Stopped:
        return {"stopped": True}
    except Exception as error:  # hostile bytes may raise anything: the parent counts it and replaces this worker
        return {"failed": type(error).__name__}
    finally:
        del out


def measured(job: dict[str, Any], descriptor: int, slot: mmap.mmap) -> dict[str, Any]:
    """The answer to one job, and the CPU seconds that it took, of all threads."""
    before = _cpu_seconds()
    answer = run_job(job, descriptor, slot)
    return answer | {"cpu_s": round(_cpu_seconds() - before, 6)}


def _cpu_seconds() -> float:
    """Of this process, of all its threads."""
    # Not the process's clock: under RLIMIT_CPU the kernel brings that up to date at ticks and switches alone.
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _stop_of(number: int, slot: mmap.mmap) -> Callable[[], bool]:
    """Whether the parent wants the job no more; to ask is a sign of life."""
    stop_at, wanted = len(slot) - STOP_BYTES, number.to_bytes(STOP_BYTES, sys.byteorder)
    sign = slice(stop_at - SIGN_BYTES, stop_at)

    def stop() -> bool:
        slot[sign] = next(_packets).to_bytes(SIGN_BYTES, sys.byteorder)
        return slot[stop_at:] == wanted

    return stop


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


def work(socket_fd: int, slot_fd: int, arguments: list[str]) -> None:
    """Serves jobs until the parent closes the socket.

    Args:
        socket_fd: jobs come and answers go here.
        slot_fd: of the slot.
        arguments: ``BACKEND SLOT_BYTES MEMORY_BYTES CPU_SECONDS SANDBOX SPOOL``.
    """
    name_process(NAME)
    slot_bytes, memory_bytes, cpu_seconds = map(int, arguments[1:4])
    backend, sandbox = Backend(arguments[0]), SandboxSettings.model_validate_json(arguments[4])
    readable = Path(arguments[5]) if backend is Backend.DECORD else None
    # Opened before the process is confined, and open until it has said why it does not start.
    connection, slot = socket.socket(fileno=socket_fd), mmap.mmap(slot_fd, slot_bytes + TAIL_BYTES)
    applied = prepare(backend, Confinement(memory_bytes, sandbox, readable))
    answer: dict[str, Any] = READY | {"protections": {name.value: why for name, why in applied.items()}}
    with connection:
        while True:
            connection.sendall(json.dumps(answer).encode() + b"\n")
            received = receive(connection, 1)
            if received is None:
                return
            job, (descriptor,) = received
            allow_cpu(cpu_seconds)
            try:
                answer = measured(job, descriptor, slot)
            finally:
                os.close(descriptor)


def main(arguments: list[str]) -> None:
    """A worker, or what workers are forked from, by the first argument."""
    role, descriptor, *rest = arguments
    if role == "nursery":
        backend = Backend(rest[0])
        serve(backend, int(descriptor), hidden=rest[1] == "hidden", load=lambda: load(backend), work=work)
    else:
        work(int(descriptor), int(rest[0]), rest[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
