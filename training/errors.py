"""The base of this package's own failures."""

from __future__ import annotations


class TrainingError(Exception):
    """A failure whose message says what to change: the commands print that one line and exit with 1."""
