"""Trains one checkpoint: teacher, baseline or student. Resumes after a kill where the last state was saved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import nn

from contract.bundle import file_digest
from contract.decision import TaskSpec
from training.atomic_write import write_json
from training.config import RunConfig
from training.data.loading.epoch_batches import batches_in_epoch
from training.data.loading.row_set import RowSet, with_privileged
from training.data.privileged import PrivilegedStatistics
from training.distillation.batch_loss import plan_loss
from training.distillation.method import TeacherRecord
from training.distillation.registry import METHODS
from training.evaluation.calibration import fit_policy
from training.fitting.checkpoint import CARD_FILE, CheckpointCard, read_card, write_checkpoint
from training.fitting.loop import Assignment, Trainer
from training.fitting.operation import PLAIN_OPERATION, Operation
from training.fitting.predict import predict
from training.fitting.processes import open_accelerator, world
from training.fitting.resume import STATE_FILE
from training.fitting.selection import Selection
from training.fitting.trunk_features import read_rows, usable_features
from training.models.build import Role, build_model
from training.models.companions import FeatureProjector, JointPair, PrivilegedPredictor
from training.models.weights.sources import load_pretrained, source_digests, source_licences

PRETRAINED_FILE = "pretrained.json"
"""Digests of the configured weights; which parameters started from them, which did not; what was not used."""


@dataclass(frozen=True)
class FitData:
    """The rows a fit reads and where they came from.

    Attributes:
        train, val: rows without privileged features.
        tasks: of the manifest.
        tokenizer_path: the ``tokenizer.json`` the rows were encoded with.
    """

    train: RowSet
    val: RowSet
    tasks: tuple[TaskSpec, ...]
    manifest_digest: str
    test_fold: int | None
    skipped_rows: int
    tokenizer_path: Path


def fit(
    directory: Path,
    data: FitData,
    config: RunConfig,
    *,
    method: str,
    seed: int,
    statistics: PrivilegedStatistics | None = None,
    teacher: TeacherRecord | None = None,
    role: Role | None = None,
    operation: Operation = PLAIN_OPERATION,
    selection: Selection | None = None,
) -> CheckpointCard:
    """Trains for the configured epochs, calibrates on validation rows, writes the checkpoint.

    Under torchrun or ``accelerate launch`` every process calls it with the same arguments, and gets the same card.

    Args:
        directory: where the checkpoint goes; one that is complete and of the same inputs is not trained again.
        data: rows; for a method that distils, ``data.train`` holds soft targets, and for one that compares features
            the teacher's.
        config: of the run.
        method: a name in ``METHODS``.
        seed: of initialisation, batch order, augmentation and dropout.
        statistics: of the privileged groups that a teacher reads, or that a student's method needs in training
            (``pfd_joint`` and ``mtl``); the student itself never reads them.
        teacher: whose soft targets ``data.train`` holds.
        role: what the checkpoint is; without one, a teacher where there are ``statistics``, else a student.
        operation: how it is run; it decides nothing that the checkpoint holds.
        selection: of fits of the same model on fewer rows: epochs, temperatures and thresholds are taken over, and
            ``data.val`` decides nothing.

    Raises:
        ValueError: the directory holds a checkpoint of other inputs, or the method needs statistics or features and
            got none, or it cannot go through a batch in parts.
        CheckpointError: the directory holds a state to resume from that is not this training's.
        PretrainedError: weights to start from are missing or do not fit.
        FloatingPointError: training diverged.
    """
    role = role or ("student" if statistics is None else "teacher")
    reads = statistics if role in ("teacher", "privileged_only_teacher") else None
    card = {
        "role": role,
        "method": method,
        "config": config,
        "tasks": data.tasks,
        "privileged": reads,
        "seed": seed,
        "test_fold": data.test_fold,
        "manifest_digest": data.manifest_digest,
        "teacher_digest": None if teacher is None else teacher.digest(),
        "tokenizer_digest": file_digest(data.tokenizer_path),
        "rows_digest": _rows_digest(data),
        "selection_digest": None if selection is None else selection.digest,
    }
    if (directory / CARD_FILE).exists():
        return _completed(directory, card)
    directory.mkdir(parents=True, exist_ok=True)
    train, val = data.train, data.val
    if statistics is not None:
        train = with_privileged(train, statistics)
    if reads is not None:
        val = with_privileged(val, reads)
    torch.manual_seed(seed)
    model = build_model(config, data.tasks, reads, role)
    _start_from_pretrained(directory if world().is_main_process else None, model, config, data.tokenizer_path)
    train, val = (usable_features(model, rows) for rows in (train, val))
    read_rows(model, train, data.tokenizer_path)
    trained = model
    if role == "student":
        trained = _with_companion(model, method, config, data.tasks, statistics, train, data.tokenizer_path)
    steps = batches_in_epoch(train, config.optimiser)
    plan = plan_loss(method, config, teacher, train, seed, steps * config.optimiser.epochs)
    accelerator = open_accelerator(config.optimiser.precision, operation, directory)
    stop_after = None if selection is None else selection.epochs or config.optimiser.epochs
    assignment = Assignment(directory, _identity(card), trained, model, train, val, config, seed, plan, stop_after)
    trainer = Trainer(assignment, operation, accelerator)
    curve = trainer.run()
    if selection is None:
        logits = predict(model, val, data.tasks, accelerator=accelerator)
        policy = fit_policy(logits, list(val.targets.values()), config.operating_points)
    else:
        policy = selection.policy
    if accelerator.is_main_process:
        curve.write(directory)
        rest: dict[str, object] = {"policy": policy, "train_rows": len(train.rows), "skipped_rows": data.skipped_rows}
        rest["epochs_kept"] = trainer.epochs_kept
        write_checkpoint(directory, model.cpu(), card | rest | {"losses": tuple(curve.epochs.loss)})
        (directory / STATE_FILE).unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    return read_card(directory)


def _identity(card: Mapping[str, object]) -> str:
    """SHA-256 of everything that decides the weights: a state saved under other inputs is not resumed."""

    card = {key: value for key, value in card.items() if key != "selection_digest" or value is not None}

    def plain(value: Any) -> Any:
        return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)

    return hashlib.sha256(json.dumps(card, default=plain, sort_keys=True).encode()).hexdigest()


def _start_from_pretrained(directory: Path | None, model: nn.Module, config: RunConfig, tokenizer: Path) -> None:
    if config.pretrained is None:
        return
    report = load_pretrained(model, config.pretrained, tokenizer)
    if report is not None and directory is not None:
        record = {"sha256": source_digests(config.pretrained), "licences": source_licences(config.pretrained)}
        write_json(directory / PRETRAINED_FILE, record | asdict(report))


def _rows_digest(data: FitData) -> str:
    """SHA-256 of the ids that this fit reads: the manifest may hold more (clips that fail to decode, other parts)."""
    ids = {"train": [row.id for row in data.train.rows], "val": [row.id for row in data.val.rows]}
    return hashlib.sha256(json.dumps(ids, sort_keys=True).encode()).hexdigest()


def _completed(directory: Path, wanted: Mapping[str, object]) -> CheckpointCard:
    card = read_card(directory)
    for field, value in wanted.items():
        if field == "rows_digest" and card.rows_digest is None:
            continue  # from before it was kept
        if getattr(card, field) != value:
            raise ValueError(f"{directory / CARD_FILE}: made with another {field}; remove the folder or use another")
    return card


def _with_companion(
    student: nn.Module,
    method: str,
    config: RunConfig,
    tasks: tuple[TaskSpec, ...],
    statistics: PrivilegedStatistics | None,
    train: RowSet,
    tokenizer: Path,
) -> nn.Module:
    """The student with the modules its method trains beside it; built first, so that its initial weights are equal."""
    needs, features = METHODS[method], train.teacher_features
    if needs.needs_features:
        if features is None:
            raise ValueError(f"method {method} needs the teacher's features of the training rows, and there are none")
        classifiers = {name: torch.from_numpy(values) for name, values in features.classifiers.items()}
        return FeatureProjector(student, classifiers, config.model.text.hidden_size, features.represented_ND.shape[1])
    if needs.teacher != "joint" and not needs.predicts_privileged:
        return student
    if statistics is None or not statistics.groups:
        raise ValueError(f"method {method} needs privileged features in training, and there are none")
    if needs.teacher == "joint":
        taught_beside = build_model(config, tasks, statistics, "teacher")
        _start_from_pretrained(None, taught_beside, config, tokenizer)
        read_rows(taught_beside, train, tokenizer)
        return JointPair(student, taught_beside)
    return PrivilegedPredictor(student, statistics.widths, config.model.text.hidden_size)
