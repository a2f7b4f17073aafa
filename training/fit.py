"""Trains one checkpoint: teacher, baseline or student. Resumes after a kill where the last epoch ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from contract.bundle import file_digest
from contract.decision import TaskSpec
from training.batch_loss import LossPlan, plan_loss
from training.batches import RowSet, TeacherFeatures, batches_in_epoch, training_batches, with_privileged
from training.calibrate import fit_policy
from training.checkpoint import (
    CARD_FILE,
    CheckpointCard,
    Role,
    TeacherRecord,
    build_model,
    read_card,
    save_tensors,
    write_checkpoint,
    write_json,
)
from training.config import RunConfig
from training.distillation.registry import METHODS
from training.engine import predict, train_epoch
from training.models.companions import FeatureProjector, JointPair, PrivilegedPredictor
from training.pretrained import load_pretrained, source_digests
from training.privileged import PrivilegedStatistics

_LOG = logging.getLogger(__name__)
_STATE_FILE = "resume.pt"
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
) -> CheckpointCard:
    """Trains for the configured epochs, calibrates on validation rows, writes the checkpoint.

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

    Raises:
        ValueError: the directory holds a checkpoint of other inputs, or the method needs statistics or features and
            got none.
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
    _start_from_pretrained(directory, model, config)
    trained = model
    if role == "student":
        trained = _with_companion(model, method, config, data.tasks, statistics, train.teacher_features)
    steps = batches_in_epoch(train, config.optimiser)
    plan = plan_loss(method, config, teacher, train, seed, steps * config.optimiser.epochs)
    losses = _train(directory, trained, train, config, seed, plan)
    policy = fit_policy(predict(model, val, data.tasks), list(val.targets.values()))
    done = write_checkpoint(
        directory,
        model,
        card
        | {
            "policy": policy,
            "train_rows": len(train.rows),
            "skipped_rows": data.skipped_rows,
            "losses": tuple(losses),
        },
    )
    (directory / _STATE_FILE).unlink(missing_ok=True)
    return done


def _start_from_pretrained(directory: Path | None, model: nn.Module, config: RunConfig) -> None:
    if config.pretrained is None:
        return
    report = load_pretrained(model, config.pretrained)
    if report is not None and directory is not None:
        write_json(directory / PRETRAINED_FILE, {"sha256": source_digests(config.pretrained)} | asdict(report))


def _completed(directory: Path, wanted: Mapping[str, object]) -> CheckpointCard:
    card = read_card(directory)
    for field, value in wanted.items():
        if getattr(card, field) != value:
            raise ValueError(f"{directory / CARD_FILE}: made with another {field}; remove the folder or use another")
    return card


def _with_companion(
    student: nn.Module,
    method: str,
    config: RunConfig,
    tasks: tuple[TaskSpec, ...],
    statistics: PrivilegedStatistics | None,
    features: TeacherFeatures | None,
) -> nn.Module:
    """The student together with what its method trains beside it: it was made first, so its first weights are alike."""
    needs = METHODS[method]
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
        _start_from_pretrained(None, taught_beside, config)
        return JointPair(student, taught_beside)
    return PrivilegedPredictor(student, statistics.widths, config.model.text.hidden_size)


def _train(
    directory: Path,
    model: nn.Module,
    train: RowSet,
    config: RunConfig,
    seed: int,
    plan: LossPlan,
) -> list[float]:
    options = config.optimiser
    steps = batches_in_epoch(train, options)
    optimiser = torch.optim.AdamW(_parameter_groups(model, options.weight_decay), lr=options.lr, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: _rate(step, steps * options.epochs, options.warmup_share)
    )
    losses: list[float] = []
    state_path = directory / _STATE_FILE
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["rng"])
        losses = list(state["losses"])
        _LOG.info("%s: resumed after epoch %d", directory, len(losses))
    for epoch in range(len(losses), options.epochs):
        batches = training_batches(train, options, seed, epoch)
        label = f"{directory.name} epoch {epoch + 1}/{options.epochs}"
        losses.append(
            train_epoch(
                model,
                batches,
                plan.epoch(epoch, steps),
                optimiser,
                schedule,
                clip_norm=options.clip_norm,
                precision=options.precision,
                total=steps,
                label=label,
            )
        )
        _LOG.info("%s: loss %.4f", label, losses[-1])
        save_tensors(
            state_path,
            {
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "rng": torch.get_rng_state(),
                "losses": losses,
            },
        )
    return losses


def _rate(step: int, total: int, warmup_share: float) -> float:
    """The learning rate's factor: linear up over the warm-up, linear down to zero after it."""
    warmup = max(1, int(total * warmup_share))
    return (step + 1) / warmup if step < warmup else max(0.0, (total - step) / max(1, total - warmup))


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """No decay on biases, norms and single vectors (method note 3.1)."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
