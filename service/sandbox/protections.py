"""What there is to confine a decode worker with."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, model_validator


class Protection(StrEnum):
    """In the order in which a worker takes them on."""

    HIDDEN = "hidden"
    """No process of the same user reads its memory, environment or open files, or attaches to it. The service's own
    process is hidden as well."""
    NETWORK_NAMESPACE = "network_namespace"
    """A network of its own, with nothing in it. Needs privileges or user namespaces, which most clusters refuse."""
    CAPABILITIES = "capabilities"
    """None left, where the service runs as root."""
    NO_NEW_PRIVS = "no_new_privs"
    """No program that it could start would have more rights."""
    LANDLOCK = "landlock"
    """The kernel's own refusal of files, TCP and signals. Needs Linux 5.13, and a runtime that lets it through."""
    SECCOMP = "seccomp"
    """A filter of system calls: no network, no programs, no processes, no paths, no signals to others."""


Applied = Mapping[Protection, str | None]
"""Protection -> why a worker runs without it, None where it is in force."""


class SandboxSettings(BaseModel):
    """Which protections of a decode worker are tried, and which it does not start without."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    required: tuple[Protection, ...] = ()
    """Protections without which no worker starts, so that the service is never ready, out of `hidden`,
    `network_namespace`, `capabilities`, `no_new_privs`, `landlock`, `seccomp` (`docs/adr/0011-decode-sandbox.md`). The
    others are had where the kernel gives them; the log names at the start what is lacking."""
    omitted: tuple[Protection, ...] = ()
    """Protections that are not tried: to attach a debugger, or where a library needs a call that `seccomp` refuses."""

    @model_validator(mode="after")
    def _consistent(self) -> SandboxSettings:
        if both := sorted(set(self.required) & set(self.omitted)):
            raise ValueError(f"{both[0]} cannot be both required and omitted")
        return self
