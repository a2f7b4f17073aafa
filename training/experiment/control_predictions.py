"""Scores of the controls, stored beside the methods' predictions of the same trial.

container_only, background_only   tasks that clips alone are labelled for: what the file or the place tells
tfidf_logistic                    tasks whose rows hold text: what the words alone tell a linear model
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contract.decision import Modality, TaskKind, TaskSpec
from training.atomic_write import write_arrays, write_json
from training.data.frames.frame_store import FrameStore
from training.data.manifest import Manifest, Row
from training.data.targets import flag_targets, task_targets
from training.evaluation.calibration import max_f1_threshold
from training.evaluation.controls import background_features, container_features, fit_control, fit_text_control

_LOG = logging.getLogger(__name__)
CLIP_CONTROLS: Final = ("container_only", "background_only")
TEXT_CONTROL: Final = "tfidf_logistic"
_LEFT_OUT: Final = ".json"
"""Instead of scores: why there are none."""
CONTROLS: Final = (*CLIP_CONTROLS, TEXT_CONTROL)


@dataclass(frozen=True)
class ControlScores:
    """A control's scores of one task in one trial.

    Attributes:
        row_ids: of the test rows.
        scores: (N,) of the test rows.
        threshold: of the highest F1 on validation rows.
        validation_row_ids, validation_scores: the same of the validation rows; empty where a file from before they
            were stored is read.
    """

    row_ids: list[str]
    scores: NDArray[np.float64]
    threshold: float
    validation_row_ids: list[str]
    validation_scores: NDArray[np.float64]


Parts = dict[str, list[Row]]


def write_control_predictions(directory: Path, manifest: Manifest, parts: Parts, cache: FrameStore, seed: int) -> None:
    """Fits each control on train rows of each task that it applies to; threshold from validation rows.

    ``container_only`` reads the clips' files: where they are not on this machine (training from shards) it is left out.

    Args:
        directory: one file for each control and task goes here.
        parts: split -> rows.
        cache: frames of the clips.
        seed: of the control's model.
    """
    for control, task, chosen in missing_controls(directory, manifest, parts):
        if control == "container_only" and not _clips_are_here(manifest, chosen):
            _LOG.warning("%s: container_only is left out: not all clips are on this machine", task.name)
            continue
        path = _path(directory, control, task.name)
        try:
            _write(path, control, task, chosen, manifest, cache, seed)
        except ValueError as error:  # no word in any title, or one class where only some rows have what it reads
            _LOG.warning("%s: %s is left out: %s", task.name, control, error)
            write_json(path.with_suffix(_LEFT_OUT), {"left_out": str(error)})


def _clips_are_here(manifest: Manifest, parts: Parts) -> bool:
    paths = (manifest.video_path(row) for rows in parts.values() for row in rows)
    return all(path is not None and path.is_file() for path in paths)


def missing_controls(directory: Path, manifest: Manifest, parts: Parts) -> Iterator[tuple[str, TaskSpec, Parts]]:
    """(control, task, split -> its rows) of every control that applies and is not stored with validation scores.

    The words of a row without text are none: the text control answers for all rows that the methods answer for.
    """
    for task in manifest.tasks:
        if task.kind is TaskKind.MULTILABEL:
            continue
        on_clips = task.modalities == (Modality.VIDEO,)
        applying = CLIP_CONTROLS if on_clips else (TEXT_CONTROL,)
        for control in applying:
            chosen = {
                split: [r for r in rows if task.name in r.labels and (r.video or not on_clips)]
                for split, rows in parts.items()
            }
            reads = on_clips or any(text.strip() for row in chosen["train"] for text in row.texts.values())
            if reads and all(chosen.values()) and not _is_complete(_path(directory, control, task.name)):
                yield control, task, chosen


def read_control(directory: Path, control: str, task: str) -> ControlScores | None:
    """What is stored of a control; None where it does not apply to the task."""
    path = _path(directory, control, task)
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        stored = "validation_scores" in arrays
        return ControlScores(
            [str(i) for i in arrays["row_ids"]],
            arrays["scores"],
            float(arrays["threshold"]),
            [str(i) for i in arrays["validation_row_ids"]] if stored else [],
            arrays["validation_scores"] if stored else np.zeros(0),
        )


def _path(directory: Path, control: str, task: str) -> Path:
    return directory / f"{control}-{task}.npz"


def _is_complete(path: Path) -> bool:
    if not path.exists():
        return path.with_suffix(_LEFT_OUT).exists()
    with np.load(path, allow_pickle=False) as arrays:
        return "validation_scores" in arrays


def _write(
    path: Path, control: str, task: TaskSpec, parts: Parts, manifest: Manifest, cache: FrameStore, seed: int
) -> None:
    flags = {split: flag_targets(task_targets(rows, task)) for split, rows in parts.items()}
    y_train = flags["train"].astype(np.int64)
    train, held_out = parts["train"], [*parts["val"], *parts["test"]]
    if control == "container_only":
        facts, facts_held_out = container_features(train, manifest), container_features(held_out, manifest)
        scores = fit_control(facts, y_train, facts_held_out, seed=seed, model="forest")[:, 1]
    elif control == "background_only":
        places, places_held_out = background_features(train, cache), background_features(held_out, cache)
        scores = fit_control(places, y_train, places_held_out, seed=seed, model="extra_trees")[:, 1]
    else:
        scores = fit_text_control(_texts(train), y_train, _texts(held_out))
    val, test = scores[: len(parts["val"])], scores[len(parts["val"]) :]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(
        path,
        row_ids=np.asarray([row.id for row in parts["test"]]),
        scores=test,
        threshold=max_f1_threshold(val, flags["val"]),
        validation_row_ids=np.asarray([row.id for row in parts["val"]]),
        validation_scores=val,
    )


def _texts(rows: list[Row]) -> list[str]:
    return [" ".join(row.texts.values()) for row in rows]
