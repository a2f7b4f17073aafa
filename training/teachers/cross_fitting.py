"""Out-of-fold soft targets: every training row gets the logits of a teacher that was not trained on it (method.md 1.6).

A teacher is sure of the rows it was trained on, whatever it knows of others: weighed by that, all rows weigh alike.
So the training rows are split into K parts that share no group, clip or text, K teachers are trained, each on the
other parts, and each tells its logits of the part it did not see. Confidence is read of those, at temperatures fitted
on them.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.decision import TaskKind, TaskSpec
from contract.frozen import FrozenDocument
from training.data.connected_rows import connected_groups
from training.data.loading.row_set import RowSet, with_privileged
from training.data.manifest import Row
from training.data.targets import TaskTargets
from training.evaluation.calibration import fit_temperature
from training.fitting.checkpoint import CheckpointCard, read_checkpoint
from training.fitting.predict import predict

Parts = NDArray[np.int64]
"""(N,) the part of each training row, in [0, K)."""


class CrossFitWarning(UserWarning):
    """Too few groups, or too unequal ones, to cross-fit a task: the message names the task and part, or the share."""


class CrossFitCard(FrozenDocument):
    """The card of K cross-fitted teachers, to which a student's card refers as to that of one teacher."""

    teachers: tuple[str, ...]
    """Digest of the card of each part's teacher: the one that did not see the part."""
    parts_digest: str
    """SHA-256, in hex, of which row stands in which part."""
    manifest_digest: str
    tasks: tuple[TaskSpec, ...]
    temperatures: dict[str, float]
    """Task -> calibration temperature, fitted on the out-of-fold logits of all training rows."""


def assign_parts(rows: Sequence[Row], folds: int, seed: int) -> Parts:
    """The part of each row: no group, clip or text is in two parts; classes of every task are spread evenly over them.

    What is dealt are connected groups (``connected_rows``), first those that hold the largest share of any class, each
    to the part that holds least of what they bring (as scikit-learn's ``StratifiedGroupKFold``, but over all tasks at
    once). The result is a function of the rows and the seed, and not of the rows' order.

    Raises:
        ValueError: there are fewer connected groups than parts.

    Warns:
        CrossFitWarning: connected groups hold so many rows that a part's teacher has few left.
    """
    of_row = connected_groups(rows)
    names = sorted(set(of_row))
    if len(names) < folds:
        raise ValueError(
            f"cross-fitting in {folds} parts needs as many groups of rows that share no clip or text; there are "
            f"{len(names)}"
        )
    counts_GS = _counts(rows, of_row, names)
    share_GS = counts_GS / counts_GS.sum(axis=0)
    if share_GS[:, 0].max() > (1 + 1 / folds) / 2:  # halfway from an even part to all rows
        message = (
            f"{share_GS[:, 0].max():.0%} of the rows are connected by shared groups, clips or texts: parts are uneven"
        )
        warnings.warn(message, CrossFitWarning, stacklevel=2)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-share_GS[order].max(axis=1), kind="stable")]
    held_PS, rows_P, part_of = np.zeros((folds, counts_GS.shape[1])), np.zeros(folds), dict.fromkeys(names, 0)
    for g in order:
        part = int(np.lexsort((rows_P, held_PS @ share_GS[g]))[0])
        held_PS[part] += share_GS[g]
        rows_P[part] += counts_GS[g, 0]
        part_of[names[g]] = part
    return np.asarray([part_of[name] for name in of_row], np.int64)


def rows_at(rows: RowSet, positions: NDArray[np.int64]) -> RowSet:
    """The rows at these positions, in this order."""
    return replace(
        rows,
        rows=[rows.rows[i] for i in positions],
        texts=[rows.texts[i] for i in positions],
        targets={
            name: TaskTargets(targets.task, targets.labelled[positions], targets.values[positions])
            for name, targets in rows.targets.items()
        },
        privileged={name: (values[positions], known[positions]) for name, (values, known) in rows.privileged.items()},
        soft_targets={name: logits[positions] for name, logits in rows.soft_targets.items()},
    )


def out_of_fold_logits(
    teachers: Sequence[Path], train: RowSet, parts: Parts, tasks: Sequence[TaskSpec]
) -> dict[str, NDArray[np.float32]]:
    """Task -> (N, K) logits of every training row, from the teacher that was not trained on it.

    Where a part's teacher saw no labelled row of a task, or rows of one class only, its head is no teacher of that
    task: the part's rows get the logits of the class shares over all training rows, which say nothing of a row. Of a
    multilabel task the same holds for each label by itself. Where a teacher misses only some of
    several classes, its logits are kept and a warning is given.

    Args:
        teachers: folder of each part's teacher.
        train: without privileged features.
        parts: of ``train``'s rows.
        tasks: of the manifest.

    Warns:
        CrossFitWarning: for each such task and part.
    """
    logits = {task.name: np.zeros((len(train.rows), task.logits_width), np.float32) for task in tasks}
    for part, directory in enumerate(teachers):
        model, card = read_checkpoint(directory)
        unseen = np.flatnonzero(parts == part)
        rows = rows_at(train, unseen)
        held_out = predict(model, rows if card.privileged is None else with_privileged(rows, card.privileged), tasks)
        for task in tasks:
            targets = train.targets[task.name]
            logits[task.name][unseen] = held_out[task.name]
            if not targets.labelled[unseen].any():
                continue
            seen = targets.values[targets.labelled & (parts != part)]
            untaught = np.flatnonzero(_untaught(seen, task))
            logits[task.name][np.ix_(unseen, untaught)] = _prior_logits(targets)[untaught]
            if message := _unseen_classes(seen, task):
                warning = f"{task.name}: the rows outside part {part} hold {message}"
                warnings.warn(warning, CrossFitWarning, stacklevel=2)
    return logits


def cross_fit_card(
    cards: Sequence[CheckpointCard], train: RowSet, parts: Parts, logits: Mapping[str, NDArray[np.float32]]
) -> CrossFitCard:
    """The card of these teachers and parts, calibrated on their out-of-fold logits (N, K)."""
    first = cards[0]
    return CrossFitCard(
        teachers=tuple(card.digest() for card in cards),
        parts_digest=parts_digest(train.rows, parts),
        manifest_digest=first.manifest_digest,
        tasks=first.tasks,
        temperatures={name: fit_temperature(logits[name], targets) for name, targets in train.targets.items()},
    )


def parts_digest(rows: Sequence[Row], parts: Parts) -> str:
    """SHA-256, in hex, of row id -> part."""
    document = {row.id: int(part) for row, part in zip(rows, parts, strict=True)}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _counts(rows: Sequence[Row], of_row: Sequence[str], names: Sequence[str]) -> NDArray[np.float64]:
    """(G, S) rows of each connected group in each stratum: all rows, rows with a clip, and each class of each task."""
    position = {name: g for g, name in enumerate(names)}
    strata: dict[tuple[str, ...], NDArray[np.float64]] = defaultdict(lambda: np.zeros(len(names)))
    for row, name in zip(rows, of_row, strict=True):
        keys: list[tuple[str, ...]] = [()]
        keys += [("video",)] if row.video is not None else []
        for task, label in row.labels.items():
            keys += [("labelled", task)]
            keys += [("label", task, one) for one in ([label] if isinstance(label, str) else label)]
        for key in keys:
            strata[key][position[name]] += 1
    return np.stack([strata[key] for key in sorted(strata)], axis=1)


def _untaught(seen: NDArray[np.generic], task: TaskSpec) -> NDArray[np.bool_]:
    """(K,) whether each logit of the head is meaningless after training on these target values alone."""
    if task.kind is TaskKind.MULTILABEL:
        return np.asarray([len(np.unique(column)) < 2 for column in seen.T], np.bool_)
    return np.full(task.logits_width, len(np.unique(seen)) < 2)


def _unseen_classes(seen: NDArray[np.generic], task: TaskSpec) -> str | None:
    """What a teacher trained on these target values cannot have learned; None where it saw every class."""
    untaught = _untaught(seen, task)
    if task.kind is TaskKind.MULTILABEL:
        names = [label for label, lacks in zip(task.labels, untaught, strict=True) if lacks]
        return f"one answer only to {', '.join(names)}: no teacher for it" if names else None
    if untaught.all():
        return "fewer than two classes: no teacher for it"
    absent = [label for k, label in enumerate(task.labels) if k not in seen]
    return f"no {', '.join(absent)}: its teacher takes such rows for others" if absent else None


def _prior_logits(targets: TaskTargets) -> NDArray[np.float32]:
    """(K,) logits of the class shares, one row being added to each class."""
    values, task = targets.values[targets.labelled], targets.task
    if task.kind is TaskKind.MULTICLASS:
        counts = np.bincount(values.astype(np.int64), minlength=len(task.labels)) + 1
        return np.log(counts / counts.sum()).astype(np.float32)
    positives = values.reshape(len(values), -1).sum(axis=0) + 1
    return np.log(positives / (len(values) + 2 - positives)).astype(np.float32)
