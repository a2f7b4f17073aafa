"""The filter as a program: what it decides for every call, on both machines, by running it as the kernel would."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.sandbox.policy import Equal, Rule, Verdict, worker_rules
from service.sandbox.seccomp import Instruction, build_filter, packed
from service.sandbox.syscalls import CALLS, Machine, known_machine

ME = 4711
ARCH: dict[Machine, int] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINES: tuple[Machine, ...] = ("x86_64", "aarch64")
THREAD = 0x003D0F00  # what glibc's pthread_create asks of clone
FORK = 17  # SIGCHLD: what glibc's fork asks of clone
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def run(program: list[Instruction], number: int, arguments: tuple[int, ...], arch: int) -> int:
    """What the kernel's filter machine returns for a call."""
    words = [number, arch, 0, 0]
    for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]:
        words += [argument & 0xFFFFFFFF, argument >> 32 & 0xFFFFFFFF]
    at = register = 0
    for _ in range(len(program)):
        code, if_true, if_false, operand = program[at]
        at += 1
        match code:
            case 0x20:
                register = words[operand // 4]
            case 0x54:
                register &= operand
            case 0x15:
                at += if_true if register == operand else if_false
            case 0x35:
                at += if_true if register >= operand else if_false
            case 0x45:
                at += if_true if register & operand else if_false
            case 0x06:
                return operand
            case _:
                pytest.fail(f"unknown instruction {code:#x}")
    pytest.fail("the program does not end")


def decided(machine: Machine, call: str, *arguments: int, opens_paths: bool = False) -> Verdict:
    number = CALLS[call].number(machine)
    assert number is not None
    program = build_filter(worker_rules(ME, opens_paths=opens_paths), machine)
    return Verdict(run(program, number, arguments, ARCH[machine]))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("call", "arguments", "verdict"),
    [
        ("read", (3,), Verdict.ALLOW),
        ("mmap", (0, 4096, 3), Verdict.ALLOW),
        ("mmap", (0, 4096, 7), Verdict.REFUSE),
        ("mprotect", (0, 4096, 5), Verdict.REFUSE),
        ("newfstatat", (3, 0, 0, 0x1000), Verdict.ALLOW),
        ("newfstatat", (3, 0, 0, 0), Verdict.REFUSE),
        ("sendto", (3, 0, 10, 0, 0, 0), Verdict.ALLOW),
        ("sendto", (3, 0, 10, 0, 0x7F0000000000, 16), Verdict.REFUSE),
        ("sendto", (3, 0, 10, 0, 0x1234, 16), Verdict.REFUSE),
        ("fcntl", (3, 1030), Verdict.ALLOW),
        ("fcntl", (3, 8), Verdict.REFUSE),
        ("tgkill", (ME, ME, 6), Verdict.ALLOW),
        ("tgkill", (ME + 1, ME, 6), Verdict.REFUSE),
        ("prlimit64", (0, 0), Verdict.ALLOW),
        ("prlimit64", (1, 0), Verdict.REFUSE),
        ("prctl", (15,), Verdict.ALLOW),
        ("prctl", (4, 1), Verdict.REFUSE),
        ("clone", (THREAD,), Verdict.ALLOW),
        ("clone", (FORK,), Verdict.KILL),
        ("clone", (THREAD & ~0x10000,), Verdict.KILL),
        ("clone3", (), Verdict.ABSENT),
        ("execve", (), Verdict.KILL),
        ("ptrace", (), Verdict.KILL),
        ("openat", (-100 & 0xFFFFFFFF, 0, 0), Verdict.REFUSE),
        ("capset", (), Verdict.REFUSE),
        ("seccomp", (), Verdict.REFUSE),
    ],
)
def test_each_call_is_decided_alike_on_both_machines(
    machine: Machine, call: str, arguments: tuple[int, ...], verdict: Verdict
) -> None:
    assert decided(machine, call, *arguments) is verdict


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("flag", [0o1, 0o2, 0o100, 0o1000, 0o20000000])
def test_where_paths_are_opened_they_are_opened_for_reading(machine: Machine, flag: int) -> None:
    assert decided(machine, "openat", 3, 0, 0o2000000, opens_paths=True) is Verdict.ALLOW
    assert decided(machine, "openat", 3, 0, flag, opens_paths=True) is Verdict.REFUSE


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0, 2**32 - 1), argument=st.integers(0, 2**64 - 1))
def test_a_call_that_no_rule_names_is_refused(machine: Machine, number: int, argument: int) -> None:
    rules = worker_rules(ME, opens_paths=False)
    named = {CALLS[rule.call].number(machine) for rule in rules}
    verdict = run(build_filter(rules, machine), number, (argument,) * 6, ARCH[machine])
    if machine == "x86_64" and number >= 0x40000000:
        assert verdict == Verdict.KILL
    elif number not in named:
        assert verdict == Verdict.REFUSE


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_machine_end_the_process(machine: Machine) -> None:
    program = build_filter(worker_rules(ME, opens_paths=False), machine)
    for other in {*ARCH.values(), 0x40000003} - {ARCH[machine]}:  # the last: 32-bit calls of x86
        assert run(program, 0, (), other) == Verdict.KILL


def test_all_64_bits_of_a_value_are_compared() -> None:
    program = build_filter([Rule("read", conditions=(Equal(1, 0x5_0000_0007),))], "x86_64")
    for value, verdict in {0x5_0000_0007: Verdict.ALLOW, 7: Verdict.REFUSE, 0x5_0000_0008: Verdict.REFUSE}.items():
        assert run(program, 0, (0, value), ARCH["x86_64"]) == verdict


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_is_one_that_the_kernel_takes(machine: Machine) -> None:
    program = build_filter(worker_rules(ME, opens_paths=True), machine)
    assert len(packed(program)) == 8 * len(program) <= 8 * 4096
    assert all(0 <= jump < 256 for _, *jumps, _ in program for jump in jumps)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_the_kernels_headers(machine: Machine) -> None:
    if not HEADERS[machine].is_file():
        pytest.skip("the kernel's headers are not installed")
    defined = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\s", HEADERS[machine].read_text())
    found = {name: int(number) for name, number in defined}
    found.setdefault("newfstatat", found.get("fstatat", -1))
    for name, call in CALLS.items():
        assert call.number(machine) == found.get(name), name


def test_another_machine_has_no_filter() -> None:
    with pytest.raises(OSError, match="not known on riscv64"):
        known_machine("riscv64")
