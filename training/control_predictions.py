"""Scores of the controls that cost nothing, stored beside the methods' predictions of the same trial."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contract.decision import Modality, TaskKind, TaskSpec
from training.calibrate import max_f1_threshold
from training.controls import background_features, container_features, fit_control
from training.frame_cache import FrameCache
from training.manifest import Manifest, Row
from training.targets import flag_targets, task_targets

Features = Callable[[list[Row]], NDArray[Any]]
CONTROLS: Final = ("container_only", "background_only")


def write_control_predictions(
    directory: Path, manifest: Manifest, parts: dict[str, list[Row]], cache: FrameCache, seed: int
) -> None:
    """Fits each control on train rows of each task that clips are labelled for; threshold from validation rows.

    Args:
        directory: one file for each control and task goes here.
        parts: split -> rows.
        cache: frames of the clips.
        seed: of the control's model.
    """
    features: dict[str, Features] = {
        "container_only": lambda rows: container_features(rows, manifest),
        "background_only": lambda rows: background_features(rows, cache),
    }
    for task in manifest.tasks:
        if task.kind is TaskKind.MULTILABEL or task.modalities != (Modality.VIDEO,):
            continue
        chosen = {split: [r for r in rows if task.name in r.labels and r.video] for split, rows in parts.items()}
        if not all(chosen.values()):
            continue
        for control in CONTROLS:
            path = _path(directory, control, task.name)
            if not path.exists():
                _write(path, task, chosen, features[control], control, seed)


def read_control(directory: Path, control: str, task: str) -> tuple[list[str], NDArray[np.float64], float] | None:
    """(test row ids, flag scores (N,), threshold) of a control; None where it does not apply to the task."""
    path = _path(directory, control, task)
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return [str(i) for i in arrays["row_ids"]], arrays["scores"], float(arrays["threshold"])


def _path(directory: Path, control: str, task: str) -> Path:
    return directory / f"{control}-{task}.npz"


def _write(
    path: Path, task: TaskSpec, parts: dict[str, list[Row]], features: Features, control: str, seed: int
) -> None:
    flags = {split: flag_targets(task_targets(rows, task)) for split, rows in parts.items()}
    scores = fit_control(
        features(parts["train"]),
        flags["train"].astype(np.int64),
        features([*parts["val"], *parts["test"]]),
        seed=seed,
        model="forest" if control == "container_only" else "extra_trees",
    )[:, 1]
    threshold = max_f1_threshold(scores[: len(parts["val"])], flags["val"])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        row_ids=np.asarray([row.id for row in parts["test"]]),
        scores=scores[len(parts["val"]) :],
        threshold=threshold,
    )
    os.replace(partial, path)  # noqa: PTH105
