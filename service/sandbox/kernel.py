"""The kernel's interfaces that Python does not offer. Each raises OSError where the kernel refuses."""

from __future__ import annotations

import ctypes
import errno
import os
import signal

from service.sandbox.syscalls import CALLS, known_machine

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_NO_NEW_PRIVS = 1, 4, 15, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_PARENT = 0x10000000, 0x40000000, 0x8000
_SECCOMP_SET_MODE_FILTER, _FILTER_ALL_THREADS, _FILTER_AT_FULL_SPEED = 1, 1, 4

_libc = ctypes.CDLL(None, use_errno=True)


def system_call(name: str, *arguments: int) -> int:
    """What the call returns."""
    number = CALLS[name].number(known_machine(os.uname().machine))
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    result = int(_libc.syscall(*(ctypes.c_long(value) for value in (number, *arguments))))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def process_control(option: int, *arguments: int) -> None:
    """``prctl(2)``."""
    filled = (*arguments, 0, 0, 0, 0)[:4]
    if _libc.prctl(option, *(ctypes.c_ulong(value) for value in filled)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def fork_sibling() -> int:
    """Forks this process, which must have one thread, as a child of its own parent, who waits for it and may end it.

    No hook of Python's or of the C library's for a fork is run: with one thread there is no lock that another held.

    Returns:
        The new process's number; 0 in the new one.
    """
    return system_call("clone", _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)


def name_process(name: str) -> None:
    """Under which ``ps`` shows it; 15 characters at most."""
    held = ctypes.create_string_buffer(name.encode())
    process_control(PR_SET_NAME, ctypes.addressof(held))


def hide_process() -> None:
    """Makes this process one that others of the same user cannot look into or attach to, and that leaves no core dump.

    It still opens ``/proc/self/fd`` itself, and the programs that it starts are not hidden.
    """
    process_control(PR_SET_DUMPABLE, 0)


def leave_network() -> None:
    """Moves this process, which must have one thread, into a network of its own with nothing in it."""
    try:
        system_call("unshare", _CLONE_NEWNET)
    except PermissionError:
        system_call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET)


def drop_capabilities() -> None:
    """Gives up every capability of this process."""
    process_control(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    system_call("capset", ctypes.addressof(header), ctypes.addressof(nothing))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def install_filter(instructions: bytes) -> None:
    """Has the kernel run a seccomp filter on every system call of every thread of this process.

    Before Linux 5.16 a filter slows its process down as well, against a leak within that process; it is told not to.
    """
    held = ctypes.create_string_buffer(instructions, len(instructions))
    program = _Program(len(instructions) // 8, ctypes.addressof(held))
    for flags in (_FILTER_ALL_THREADS | _FILTER_AT_FULL_SPEED, _FILTER_ALL_THREADS):
        try:
            odd_thread = system_call("seccomp", _SECCOMP_SET_MODE_FILTER, flags, ctypes.addressof(program))
        except OSError as error:
            if error.errno == errno.EINVAL and flags != _FILTER_ALL_THREADS:
                continue  # before Linux 4.17, and in some runtimes, the second flag is not known
            raise
        if odd_thread:
            raise OSError(0, "a thread could not be put under the filter")
        return
