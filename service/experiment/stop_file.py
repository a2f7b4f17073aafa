"""The stop file: which arms are stopped, on a volume of all pods. Pods agree by it, never by hope.

Read-modify-write goes under a lock of a file beside it, and the file is replaced whole. Taking an entry out of it, or
deleting it, is how an operator lets an arm run again. An entry names the bundle: a new one is not stopped by it.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from contract.frozen import FrozenDocument


class Stop(FrozenDocument):
    """One arm that gets no weight."""

    experiment: str
    arm: str
    bundle_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the bundle that broke the guardrail."""
    guardrail: str
    """Which one."""
    reason: str
    """The figures."""
    time_ms: int = Field(ge=0)
    """Milliseconds since 1970, UTC."""
    pod: str
    """Who found it."""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.experiment, self.arm, self.bundle_digest


class StopDocument(FrozenDocument):
    """The file."""

    version: Literal[1] = 1
    stopped: tuple[Stop, ...] = ()


def read_stops(path: Path) -> tuple[Stop, ...]:
    """What stands in the file; nothing where there is none.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no stop file.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return ()
    try:
        return StopDocument.model_validate_json(text).stopped
    except ValidationError as error:
        raise ValueError(f"{path}: not a stop file: {error.errors()[0]['msg']}") from error


def add_stops(path: Path, stops: Iterable[Stop]) -> tuple[Stop, ...]:
    """Writes more into the file, and what it holds then. One that stands there already stays as it is.

    Raises:
        OSError, ValueError: it cannot be read or written.
    """
    with path.with_name(path.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held = {stop.key: stop for stop in read_stops(path)}
        merged = {stop.key: stop for stop in stops} | held
        if merged.keys() != held.keys():
            _replace(path, StopDocument(stopped=tuple(merged.values())).model_dump_json(indent=1))
        return tuple(merged.values())


def _replace(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
