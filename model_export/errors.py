"""The errors of an export."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from training.config import field_faults


class ExportError(Exception):
    """The export stopped, and nothing was written where a server would find it."""


class ForbiddenInputError(ExportError):
    """The graph reads an input that is not known at upload time."""


class ParityError(ExportError):
    """The exported model does not answer as the trained one does."""


def lines_of(path: Path, error: ValueError) -> str:
    """One line for each thing wrong with a file, each with its path."""
    if not isinstance(error, ValidationError):
        return f"{path}: {error}"
    return "\n".join(f"{path}: {field + ': ' if field else ''}{message}" for field, message in field_faults(error))
