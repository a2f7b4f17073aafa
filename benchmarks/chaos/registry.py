"""Scenarios by name. A new family is a module beside this one whose functions are marked with ``scenario``."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

FAMILIES = ("connections", "decode")
"""Modules beside this one."""


@dataclass(frozen=True)
class Target:
    """The service that is attacked.

    Attributes:
        host, port: where it listens.
        pid: of its process; the attacker runs on the same machine, as the same user.
        clip: one that it takes.
        until: ``time.monotonic`` at which the attack is over.
    """

    host: str
    port: int
    pid: int
    clip: bytes
    until: float


Attack = Callable[[Target], Counter[str]]
"""Attacks until ``until``; returns what it did and what it was answered, as counts."""


@dataclass(frozen=True)
class Scenario:
    """One attack, and how the service under it is started.

    Attributes:
        name: as on the command line.
        says: what happens, in a line.
        attack: runs in a process of its own.
        settings: the service's environment besides the defaults.
        module: what is started as the service.
        open_files: its limit of open files, if not the machine's.
        stderr: ``blocked`` is a pipe that nobody reads.
        survives: False where the attack is to end the service.
        least_share: of honest requests that must get a verdict, where the service survives.
        never: beginnings of counts that the attacker must not report.
    """

    name: str
    says: str
    attack: Attack
    settings: Mapping[str, str] = field(default_factory=dict)
    module: str = "service"
    open_files: int | None = None
    stderr: Literal["file", "blocked"] = "file"
    survives: bool = True
    least_share: float = 0.95
    never: tuple[str, ...] = ()


_SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str, says: str, **options: Any) -> Callable[[Attack], Attack]:
    """Marks an attack as a scenario; see ``Scenario`` for the options."""

    def register(attack: Attack) -> Attack:
        if name in _SCENARIOS:
            raise ValueError(f"two scenarios are called {name}")
        _SCENARIOS[name] = Scenario(name, says, attack, **options)
        return attack

    return register


def scenarios() -> dict[str, Scenario]:
    """Name -> scenario, of all families, in their order."""
    for family in FAMILIES:
        importlib.import_module(f"{__package__}.{family}")
    return dict(_SCENARIOS)
