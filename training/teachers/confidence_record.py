"""Records the teacher's confidence of a trial: means, and histograms in sample, out of fold and held out."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.atomic_write import write_json
from training.data.loading.row_set import RowSet
from training.distillation.method import TeacherRecord
from training.evaluation.calibration import at_bound
from training.teachers.soft_targets import DEGENERATE_CONFIDENCE, DEGENERATE_SPREAD, row_confidence

_LOG = logging.getLogger(__name__)
CONFIDENCE_FILE = "confidence.json"
HISTOGRAMS_FILE = "confidence_histograms.json"
BINS = 20

Judged = tuple[Mapping[str, NDArray[np.float32]], RowSet, TeacherRecord]
"""Task -> (N, K) logits, the rows they are of, and the card of their teacher."""


def record_means(home: Path, judged: Mapping[str, Judged], confidence: str) -> None:
    """Writes each part's mean confidence by task.

    Args:
        home: folder of the trial.
        judged: ``train`` and ``test`` -> what the privileged teacher says of them.
        confidence: a name in ``CONFIDENCES``.
    """
    path = home / CONFIDENCE_FILE
    means = {
        part: {task: float(values.mean()) for task, values in row_confidence(*teacher_rows, confidence).items()}
        for part, teacher_rows in judged.items()
    }
    if not path.exists() or json.loads(path.read_text()) != means:
        write_json(path, means)


def warn_of_degenerate(trial: str, judged: Judged, confidence: str) -> None:
    """Logs tasks whose confidence is nearly the same in every training row, or was not calibrated.

    A process says each only once: a benchmark comes by here with every method.

    Args:
        trial: its name.
        judged: what the teacher says of the rows that a student is to learn from.
        confidence: a name in ``CONFIDENCES``.
    """
    for task, values in row_confidence(*judged, confidence).items():
        mean, spread = float(values.mean()), float(values.std(correction=0))
        if mean > DEGENERATE_CONFIDENCE:
            _tell(f"{trial}: mean confidence of the teacher on {task} is {mean:.3f}: CPFD is close to PFD")
        elif spread < DEGENERATE_SPREAD:
            spread_words = f"{mean:.3f} in nearly every row (standard deviation {spread:.3f})"
            _tell(f"{trial}: confidence of the teacher on {task} is {spread_words}: CPFD is close to PFD")
        temperature = judged[2].temperatures[task]
        if at_bound(temperature):
            ends = f"ends at its bound, temperature {temperature:.2f}"
            _tell(f"{trial}: the teacher's calibration on {task} {ends}: its confidence says little")


@functools.cache
def _tell(message: str) -> None:
    _LOG.warning("%s", message)


def record_histograms(home: Path, judged: Mapping[str, Judged], confidence: str) -> None:
    """Writes task -> part -> histogram of c_i over labelled rows, 20 bins of equal width over [0, 1].

    In a multilabel task every label of every row counts.

    Args:
        home: folder of the trial. A file of the same parts or of more stays as it is.
        judged: ``train`` (in sample), ``test`` and, where one was trained, ``train_crossfit`` (out of fold).
        confidence: a name in ``CONFIDENCES``.
    """
    path = home / HISTOGRAMS_FILE
    if path.exists() and _holds(path, judged):
        return
    tasks: dict[str, dict[str, Any]] = {}
    for part, teacher_rows in judged.items():
        for task, values in row_confidence(*teacher_rows, confidence).items():
            tasks.setdefault(task, {})[part] = _histogram(values)
    write_json(path, {"confidence": confidence, "bins": BINS, "tasks": tasks})


def _holds(path: Path, parts: Iterable[str]) -> bool:
    """Whether the file holds each of these parts: every process that trains a method of the trial asks."""
    stored = {part for task in json.loads(path.read_text())["tasks"].values() for part in task}
    return set(parts) <= stored


def _histogram(values: Tensor) -> dict[str, Any]:
    counts, _ = np.histogram(values.numpy(), bins=BINS, range=(0.0, 1.0))
    return {"counts": counts.tolist(), "mean": float(values.mean())}
