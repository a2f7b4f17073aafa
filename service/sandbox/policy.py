"""Which system calls a decode worker may make once it is confined. What is not named is refused with EPERM.

A call that no decoder makes, not even by mistake, ends the process instead: whoever makes one has taken it over.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from dataclasses import dataclass, field
from enum import IntEnum

from service.sandbox.kernel import PR_SET_NAME

_CLONE_OF_A_THREAD = 0x00010000 | 0x00000100 | 0x00000800  # CLONE_THREAD, CLONE_VM, CLONE_SIGHAND
_AT_EMPTY_PATH = 0x1000
_KERNELS_O_TMPFILE = 0o20000000


class Verdict(IntEnum):
    """What the kernel does with a call; the values are those of ``linux/seccomp.h``."""

    KILL = 0x80000000
    REFUSE = 0x00050000 | 1  # EPERM
    ABSENT = 0x00050000 | 38  # ENOSYS: the C library goes on to an older call
    ALLOW = 0x7FFF0000


@dataclass(frozen=True)
class Equal:
    """An argument has this value, in all of its 64 bits."""

    argument: int
    value: int


@dataclass(frozen=True)
class OneOf:
    """A 32-bit argument has one of these values."""

    argument: int
    values: tuple[int, ...]


@dataclass(frozen=True)
class Lacks:
    """A 32-bit argument has none of these bits."""

    argument: int
    bits: int


@dataclass(frozen=True)
class Holds:
    """A 32-bit argument has all of these bits."""

    argument: int
    bits: int


Condition = Equal | OneOf | Lacks | Holds


@dataclass(frozen=True)
class Rule:
    """A call is met with ``verdict`` where every condition holds, else with ``otherwise``."""

    call: str
    verdict: Verdict = Verdict.ALLOW
    conditions: tuple[Condition, ...] = field(default=())
    otherwise: Verdict = Verdict.REFUSE


_FREE = (
    "read write readv writev pread64 lseek close fstat munmap mremap madvise brk futex "
    "recvmsg recvfrom poll ppoll select pselect6 dup dup2 dup3 "
    "clock_gettime clock_getres clock_nanosleep gettimeofday nanosleep time setitimer getrusage getrandom "
    "set_robust_list rseq sched_yield sched_getaffinity getcpu getpid gettid sysinfo uname "
    "rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall exit exit_group"
)
"""They reach nothing but the worker's own memory and what it has open."""
_DEADLY = (
    "execve execveat fork vfork ptrace process_vm_readv process_vm_writev pidfd_getfd bpf init_module finit_module "
    "kexec_load setns unshare mount userfaultfd io_uring_setup perf_event_open keyctl add_key"
)
"""Programs, processes, other processes' memory, the kernel's own parts."""


def worker_rules(process: int, *, opens_paths: bool) -> tuple[Rule, ...]:
    """The rules for one worker.

    Args:
        process: its own id: it may signal itself (``abort``), and nobody else.
        opens_paths: files may be opened by path, for reading (decord knows no other way).
    """
    fcntl_commands = (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL)
    rules = [
        *(Rule(call) for call in _FREE.split()),
        Rule("mmap", conditions=(Lacks(2, mmap.PROT_EXEC),)),
        Rule("mprotect", conditions=(Lacks(2, mmap.PROT_EXEC),)),
        Rule("newfstatat", conditions=(Holds(3, _AT_EMPTY_PATH),)),  # the C library's fstat
        Rule("sendto", conditions=(Equal(4, 0),)),  # to whom the socket is connected: the service
        Rule("fcntl", conditions=(OneOf(1, fcntl_commands),)),
        Rule("tgkill", conditions=(OneOf(0, (process,)),)),
        Rule("prlimit64", conditions=(OneOf(0, (0,)),)),
        Rule("prctl", conditions=(OneOf(0, (PR_SET_NAME,)),)),
        Rule("clone", conditions=(Holds(0, _CLONE_OF_A_THREAD),), otherwise=Verdict.KILL),
        Rule("clone3", verdict=Verdict.ABSENT),  # its flags lie in memory, where no filter can look
        *(Rule(call, verdict=Verdict.KILL) for call in _DEADLY.split()),
    ]
    if opens_paths:
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | _KERNELS_O_TMPFILE
        rules += [Rule("openat", conditions=(Lacks(2, writes),)), Rule("open", conditions=(Lacks(1, writes),))]
    return tuple(rules)
