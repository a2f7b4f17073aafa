"""Names of system calls -> their numbers, as the kernel's headers give them (``asm/unistd_64.h``, ``unistd.h``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Machine = Literal["x86_64", "aarch64"]
"""As ``os.uname().machine`` spells it."""


@dataclass(frozen=True)
class Call:
    """A system call's number on each machine; None where there is no such call."""

    x86_64: int | None
    aarch64: int | None

    def number(self, machine: Machine) -> int | None:
        return self.x86_64 if machine == "x86_64" else self.aarch64


CALLS: dict[str, Call] = {
    name: Call(*numbers)
    for name, numbers in {
        "add_key": (248, 217),
        "bpf": (321, 280),
        "brk": (12, 214),
        "capset": (126, 91),
        "clock_getres": (229, 114),
        "clock_gettime": (228, 113),
        "clock_nanosleep": (230, 115),
        "clone": (56, 220),
        "clone3": (435, 435),
        "close": (3, 57),
        "dup": (32, 23),
        "dup2": (33, None),
        "dup3": (292, 24),
        "execve": (59, 221),
        "execveat": (322, 281),
        "exit": (60, 93),
        "exit_group": (231, 94),
        "fcntl": (72, 25),
        "finit_module": (313, 273),
        "fork": (57, None),
        "fstat": (5, 80),
        "futex": (202, 98),
        "getcpu": (309, 168),
        "getpid": (39, 172),
        "getrandom": (318, 278),
        "getrusage": (98, 165),
        "gettid": (186, 178),
        "gettimeofday": (96, 169),
        "init_module": (175, 105),
        "io_uring_setup": (425, 425),
        "kexec_load": (246, 104),
        "keyctl": (250, 219),
        "landlock_add_rule": (445, 445),
        "landlock_create_ruleset": (444, 444),
        "landlock_restrict_self": (446, 446),
        "lseek": (8, 62),
        "madvise": (28, 233),
        "mmap": (9, 222),
        "mount": (165, 40),
        "mprotect": (10, 226),
        "mremap": (25, 216),
        "munmap": (11, 215),
        "nanosleep": (35, 101),
        "newfstatat": (262, 79),
        "open": (2, None),
        "openat": (257, 56),
        "perf_event_open": (298, 241),
        "pidfd_getfd": (438, 438),
        "poll": (7, None),
        "ppoll": (271, 73),
        "prctl": (157, 167),
        "pread64": (17, 67),
        "prlimit64": (302, 261),
        "process_vm_readv": (310, 270),
        "process_vm_writev": (311, 271),
        "pselect6": (270, 72),
        "ptrace": (101, 117),
        "read": (0, 63),
        "readv": (19, 65),
        "recvfrom": (45, 207),
        "recvmsg": (47, 212),
        "restart_syscall": (219, 128),
        "rseq": (334, 293),
        "rt_sigaction": (13, 134),
        "rt_sigprocmask": (14, 135),
        "rt_sigreturn": (15, 139),
        "sched_getaffinity": (204, 123),
        "sched_yield": (24, 124),
        "seccomp": (317, 277),
        "select": (23, None),
        "sendto": (44, 206),
        "set_robust_list": (273, 99),
        "setitimer": (38, 103),
        "setns": (308, 268),
        "sigaltstack": (131, 132),
        "sysinfo": (99, 179),
        "tgkill": (234, 131),
        "time": (201, None),
        "uname": (63, 160),
        "unshare": (272, 97),
        "userfaultfd": (323, 282),
        "vfork": (58, None),
        "write": (1, 64),
        "writev": (20, 66),
    }.items()
}


def known_machine(name: str) -> Machine:
    """``name``, if the numbers of its system calls are known.

    Raises:
        OSError: they are not.
    """
    for machine in get_args(Machine):
        if machine == name:
            found: Machine = machine
            return found
    raise OSError(0, f"its system calls are not known on {name}")
