"""The decode workers of a running service."""

from __future__ import annotations

from pathlib import Path

from service.stages.decode_worker import NAME


def workers_of(pid: int) -> list[int]:
    """Process ids of the workers of the service with this one, those that are about to be ready included."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            name = Path(f"/proc/{child}/comm").read_text().strip()
        except OSError:  # gone meanwhile
            continue
        if name == NAME:
            found.append(int(child))
    return found
