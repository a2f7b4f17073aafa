"""The process that decode workers are forked from: it has loaded all that they need, and sees no clip itself.

    python -m service.decoding.worker nursery CONTROL_FD BACKEND hidden|open

A worker that starts from nothing spends 0.4 s of a core on imports; a fork has them already. The service asks for each
worker over the control socket: a line of JSON, the worker's arguments, and with it three open files: the worker's
socket, its slot, and what takes its first words. The answer is a line with the process's number.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import traceback
from collections.abc import Callable
from typing import NoReturn

from contract.video import Backend
from service.decoding.lines import receive
from service.sandbox.kernel import PR_SET_PDEATHSIG, fork_sibling, hide_process, name_process, process_control
from service.sandbox.rehearsal import Rehearsal

LOADED = b"loaded\n"
_STDERR, _FILES = 2, 3


def serve(
    backend: Backend, control_fd: int, *, hidden: bool, load: Callable[[], None], work: Callable[..., None]
) -> None:
    """Forks workers until the service closes the control socket.

    Args:
        backend: whose libraries are loaded.
        control_fd: the control socket.
        hidden: whether other processes of the same user are kept out of its memory, which tells where all is in theirs.
        load: loads the decoder.
        work: what a worker does, given the descriptors of its socket and its slot, and the arguments asked for.
    """
    process_control(PR_SET_PDEATHSIG, signal.SIGKILL)
    name_process("decode-nursery")
    if hidden:
        hide_process()
    load()
    Rehearsal(backend).repeat()  # what the first decode loads is then loaded too
    gc.collect()
    gc.freeze()  # a collection in a worker would else write to, and so copy, each page that holds an object
    with socket.socket(fileno=control_fd) as control:
        control.sendall(LOADED)
        while (request := receive(control, _FILES)) is not None:
            arguments, descriptors = request
            pid = fork_sibling()
            if pid == 0:
                _live(control, arguments, descriptors, work)
            for descriptor in descriptors:
                os.close(descriptor)
            control.sendall(json.dumps({"pid": pid}).encode() + b"\n")


def _live(control: socket.socket, arguments: list[str], descriptors: list[int], work: Callable[..., None]) -> NoReturn:
    """A worker's whole life, on this side of the fork."""
    code = 1
    try:
        socket_fd, slot_fd, words_fd = descriptors
        os.setpgid(0, 0)
        os.dup2(words_fd, _STDERR)
        os.close(words_fd)
        control.close()
        work(socket_fd, slot_fd, arguments)
        code = 0
    except BaseException:  # it must not go on as a second nursery, whatever it was
        os.write(_STDERR, traceback.format_exc().encode())
    finally:
        os._exit(code)
