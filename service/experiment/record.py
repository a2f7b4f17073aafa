"""Where the records of assignments and decisions go: what the rest of the service knows of the decision log."""

from __future__ import annotations

from typing import Protocol

from contract.decision_log import Record


class DecisionSink(Protocol):
    """Takes records."""

    async def append(self, *records: Record) -> None:
        """Returns once they are durable. Raises a ServiceError where they cannot be, and that must not be."""

    def offer(self, *records: Record) -> None:
        """Takes them without a wait; what is lost is counted."""
