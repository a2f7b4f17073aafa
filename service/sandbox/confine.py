"""A process that has loaded all it needs -> one that can do no more than compute and answer. There is no way back."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from service.sandbox.kernel import (
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    drop_capabilities,
    hide_process,
    leave_network,
    process_control,
)
from service.sandbox.landlock import confine_files
from service.sandbox.policy import worker_rules
from service.sandbox.protections import Applied, Protection, SandboxSettings
from service.sandbox.seccomp import confine_calls

_NOT_TRIED = "omitted by the settings"


class ProtectionLacking(Exception):
    """One that the settings require cannot be had."""


@dataclass(frozen=True)
class Confinement:
    """What a worker is to be confined to.

    Attributes:
        memory_bytes: of address space.
        settings: which protections are tried and required.
        readable: the directory whose files its decoder opens by path; None where it is handed open files only.
    """

    memory_bytes: int
    settings: SandboxSettings
    readable: Path | None = None


def confine(wanted: Confinement) -> Applied:
    """Bounds this process: its memory, what it may call, what it may reach; and it dies with its parent.

    Returns:
        Every protection, and why it is not in force where it is not.

    Raises:
        ProtectionLacking: a required one cannot be had.
    """
    resource.setrlimit(resource.RLIMIT_AS, (wanted.memory_bytes, wanted.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    rules = worker_rules(os.getpid(), opens_paths=wanted.readable is not None)
    early: dict[Protection, Callable[[], None]] = {
        Protection.HIDDEN: hide_process,
        Protection.NETWORK_NAMESPACE: leave_network,
        Protection.CAPABILITIES: drop_capabilities,
    }
    late: dict[Protection, Callable[[], None]] = {
        Protection.NO_NEW_PRIVS: lambda: process_control(PR_SET_NO_NEW_PRIVS, 1),
        Protection.LANDLOCK: lambda: confine_files(wanted.readable),
        Protection.SECCOMP: lambda: confine_calls(rules),
    }
    applied = {protection: _tried(protection, step, wanted.settings) for protection, step in early.items()}
    process_control(PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of rights, as above, would forget it
    applied |= {protection: _tried(protection, step, wanted.settings) for protection, step in late.items()}
    for protection in wanted.settings.required:
        if applied[protection] is not None:
            raise ProtectionLacking(f"decode.sandbox.required: {protection} cannot be had: {applied[protection]}")
    return applied


def _tried(protection: Protection, step: Callable[[], None], settings: SandboxSettings) -> str | None:
    """None once the protection is in force, else why it is not."""
    if protection in settings.omitted:
        return _NOT_TRIED
    try:
        step()
    except OSError as error:
        return f"refused: {error.strerror}"
    return None
