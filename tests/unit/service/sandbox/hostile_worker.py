"""A decode worker that an attacker has taken over: instead of decoding a clip it does what the clip's bytes name.

Started as ``python -m`` in the place of ``service.decoding.worker``. What came of it is the refusal's detail:
``done`` and what was got, or the name of the error number.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contract.errors import CorruptMedia
from service.decoding import worker as decode_worker

LIBC = ctypes.CDLL(None, use_errno=True)
PR_GET_DUMPABLE = 3
PTRACE_TRACEME = 0
X32_GETPID = 0x40000000 + 39
PARENT = os.getppid()
_really_work = decode_worker.work
SOCKET_FD = SLOT_FD = -1


def raw(*arguments: int) -> int:
    result = int(LIBC.syscall(*(ctypes.c_long(value) for value in arguments)))
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def connect(port: str) -> None:
    with socket.socket() as made:
        made.connect(("127.0.0.1", int(port)))


def send_datagram(name: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.sendto(b"x", "\0" + name)


def fork(_: str) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def read(path: str) -> str:
    return Path(path.replace("PARENT", str(PARENT))).read_bytes()[:40].decode("latin-1")


def status(field: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(field))


def start_thread(_: str) -> str:
    found: list[int] = []
    thread = threading.Thread(target=found.append, args=(1,))
    thread.start()
    thread.join()
    return str(found)


def executable_memory(_: str) -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def read_parents_memory(_: str) -> None:
    raw(310 if os.uname().machine == "x86_64" else 270, PARENT, 0, 0, 0, 0, 0)


ATTACKS: dict[str, Callable[[str], Any]] = {
    "socket": lambda _: socket.socket().close(),
    "unix_socket": lambda _: socket.socket(socket.AF_UNIX).close(),
    "connect": connect,
    "send_datagram": send_datagram,
    "fork": fork,
    "spawn": lambda _: os.posix_spawn("/bin/true", ["true"], {}),
    "exec": lambda _: os.execv("/bin/true", ["true"]),
    "read": read,
    "list": lambda path: str(len(os.listdir(path))),  # noqa: PTH208
    "stat": lambda path: str(Path(path).stat().st_size),
    "write": lambda path: os.close(os.open(path, os.O_WRONLY)),
    "create": lambda path: os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)),
    "truncate": lambda path: os.truncate(path, 0),
    "unlink": lambda path: Path(path).unlink(),
    "truncate_slot": lambda _: os.ftruncate(SLOT_FD, 0),
    "grow_slot": lambda _: os.ftruncate(SLOT_FD, 1 << 30),
    "memory_file": lambda _: os.close(os.memfd_create("mine")),
    "signal_parent": lambda _: os.kill(PARENT, 0),
    "own_by_parent": lambda _: fcntl.fcntl(SOCKET_FD, fcntl.F_SETOWN, PARENT),
    "bound_parent": lambda _: str(resource.prlimit(PARENT, resource.RLIMIT_NOFILE)),
    "read_parents_memory": read_parents_memory,
    "trace": lambda _: LIBC.ptrace(PTRACE_TRACEME, 0, 0, 0),
    "executable_memory": executable_memory,
    "x32": lambda _: raw(X32_GETPID),
    "abort": lambda _: os.abort(),
    "become": lambda user: os.setuid(int(user)),
    "dumpable": lambda _: str(LIBC.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)),
    "status": status,
    "thread": start_thread,
}


def attack(source: Path | int, *_: object, **__: object) -> None:
    """What stands in for ``contract.video.decode``."""
    order = source.read_bytes() if isinstance(source, Path) else os.pread(source, 4096, 0)
    name, _, argument = order.decode().partition(" ")
    try:
        if name in ("write_clip", "truncate_clip"):
            clip = int(Path(source).name) if isinstance(source, Path) else source
            got: Any = os.write(clip, b"x") if name == "write_clip" else os.ftruncate(clip, 0)
        else:
            got = ATTACKS[name](argument)
    except OSError as error:
        raise CorruptMedia(errno.errorcode.get(error.errno or 0, str(error))) from None
    raise CorruptMedia(f"done {got}")


def work(socket_fd: int, slot_fd: int, arguments: list[str]) -> None:
    """What stands in for ``decode_worker.work``: an attacker knows what a worker has open."""
    global PARENT, SOCKET_FD, SLOT_FD
    PARENT, SOCKET_FD, SLOT_FD = os.getppid(), socket_fd, slot_fd
    _really_work(socket_fd, slot_fd, arguments)


if __name__ == "__main__":
    decode_worker.work = work
    decode_worker.decode = attack  # type: ignore[assignment]
    decode_worker.main(sys.argv[1:])
