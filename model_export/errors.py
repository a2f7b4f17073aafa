"""Why a checkpoint did not become a bundle."""

from __future__ import annotations


class ExportError(Exception):
    """The export stopped, and nothing was written where a server would find it."""


class ForbiddenInputError(ExportError):
    """The graph can see something that is not there at upload time."""


class ParityError(ExportError):
    """The exported model does not answer as the trained one does."""
