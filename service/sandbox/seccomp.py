"""Rules -> a program of the kernel's packet filter, which decides on every system call of the process.

The program reads ``struct seccomp_data``: the call's number, the machine, and six arguments of 64 bits. A 32-bit
register holds what is compared. See ``Documentation/userspace-api/seccomp_filter.rst`` in the kernel's sources.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from service.sandbox.kernel import install_filter
from service.sandbox.policy import Condition, Equal, Holds, OneOf, Rule, Verdict
from service.sandbox.syscalls import CALLS, Machine, known_machine

_LOAD, _AND = 0x20, 0x54  # BPF_LD | BPF_W | BPF_ABS, BPF_ALU | BPF_AND | BPF_K
_IF_EQUAL, _IF_NOT_BELOW, _IF_ANY_BIT = 0x15, 0x35, 0x45  # BPF_JMP | BPF_JEQ, BPF_JGE, BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16
_AUDIT_ARCH: dict[Machine, int] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
"""Numbers from here on are x86-64's second set of calls, by which a list of the first could be walked around."""
_LOW = 0xFFFFFFFF

Instruction = tuple[int, int, int, int]
"""Code, how far to jump if true and if false, operand."""


def build_filter(rules: Iterable[Rule], machine: Machine) -> list[Instruction]:
    """The program; a call that no rule names is refused. Rules on calls that the machine lacks are left out."""
    program = [(_LOAD, 0, 0, _MACHINE_AT), (_IF_EQUAL, 1, 0, _AUDIT_ARCH[machine]), _give(Verdict.KILL)]
    program.append((_LOAD, 0, 0, _NUMBER_AT))
    if machine == "x86_64":
        program += [(_IF_NOT_BELOW, 0, 1, _X32), _give(Verdict.KILL)]
    for rule in rules:
        number = CALLS[rule.call].number(machine)
        if number is not None:
            block = _block(rule)
            program += [(_IF_EQUAL, 0, len(block), number), *block]
    return [*program, _give(Verdict.REFUSE)]


def packed(program: list[Instruction]) -> bytes:
    """The program as the kernel reads it: an array of ``struct sock_filter``."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def confine_calls(rules: Iterable[Rule]) -> None:
    """Puts this process under the rules, for ever.

    Raises:
        OSError: the kernel refuses, or the machine's calls are not known.
    """
    install_filter(packed(build_filter(rules, known_machine(os.uname().machine))))


def _give(verdict: Verdict) -> Instruction:
    return (_RETURN, 0, 0, verdict)


def _block(rule: Rule) -> list[Instruction]:
    """What decides once the number is the rule's; always ends in a return."""
    block: list[Instruction] = []
    for condition in rule.conditions:
        block += [*_test(condition), _give(rule.otherwise)]
    return [*block, _give(rule.verdict)]


def _test(condition: Condition) -> list[Instruction]:
    """Skips the next instruction behind itself where the condition holds."""
    low = _ARGUMENTS_AT + 8 * condition.argument
    load = (_LOAD, 0, 0, low)
    if isinstance(condition, Equal):
        upper, lower = condition.value >> 32, condition.value & _LOW
        return [(_LOAD, 0, 0, low + 4), (_IF_EQUAL, 0, 2, upper), load, (_IF_EQUAL, 1, 0, lower)]
    if isinstance(condition, OneOf):
        last = len(condition.values)
        return [load, *((_IF_EQUAL, last - i, 0, value) for i, value in enumerate(condition.values))]
    if isinstance(condition, Holds):
        return [load, (_AND, 0, 0, condition.bits), (_IF_EQUAL, 1, 0, condition.bits)]
    return [load, (_IF_ANY_BIT, 0, 1, condition.bits)]
