"""The analysis' own failures, drawn before any class. Each message is one line and says what to change.

AnalysisError
├── LogNotFound          the folder holds no decision log
├── LogUnreadable        a file of the log is damaged, or holds other columns
├── FeedbackUnreadable   a file of labels: which line, and what is wrong with it
├── UnknownExperiment    not in the log, or several are and none was named
├── UnknownArm           not in the experiment, or the control cannot be told
└── UnclearLabels        which labels raise a task's flag cannot be told from the log
"""

from __future__ import annotations


class AnalysisError(Exception):
    """A failure whose message says what to change: the commands print that one line and exit with 1."""


class LogNotFound(AnalysisError):
    """The folder holds no decision log."""


class LogUnreadable(AnalysisError):
    """A file of the log is damaged, or holds other columns."""


class FeedbackUnreadable(AnalysisError):
    """A file of labels cannot be read."""


class UnknownExperiment(AnalysisError):
    """Not in the log, or several are and none was named."""


class UnknownArm(AnalysisError):
    """Not in the experiment, or the control cannot be told."""


class UnclearLabels(AnalysisError):
    """Which labels raise a task's flag cannot be told from the log."""
