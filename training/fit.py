"""Trains one checkpoint: teacher, baseline or student. Resumes after a kill where the last epoch ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from contract.bundle import file_digest
from contract.decision import TaskSpec
from training.batches import Batch, RowSet, batches_in_epoch, training_batches, with_privileged
from training.calibrate import fit_policy
from training.checkpoint import CARD_FILE, CheckpointCard, build_model, read_card, save_tensors, write_checkpoint
from training.config import RunConfig
from training.distillation.methods import METHODS, TaskBatch
from training.engine import predict, train_epoch
from training.privileged import PrivilegedStatistics

_LOG = logging.getLogger(__name__)
_STATE_FILE = "resume.pt"


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
    teacher: CheckpointCard | None = None,
) -> CheckpointCard:
    """Trains for the configured epochs, calibrates on validation rows, writes the checkpoint.

    Args:
        directory: where the checkpoint goes; one that is complete and of the same inputs is not trained again.
        data: rows; for a method that distils, ``data.train`` holds soft targets.
        config: of the run.
        method: a name in ``METHODS``.
        seed: of initialisation, batch order, augmentation and dropout.
        statistics: makes the model a teacher that reads these privileged groups.
        teacher: whose soft targets ``data.train`` holds.

    Raises:
        ValueError: the directory holds a checkpoint of other inputs.
        FloatingPointError: training diverged.
    """
    card = {
        "role": "student" if statistics is None else "teacher",
        "method": method,
        "config": config,
        "tasks": data.tasks,
        "privileged": statistics,
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
        train, val = with_privileged(train, statistics), with_privileged(val, statistics)
    torch.manual_seed(seed)
    model = build_model(config, data.tasks, statistics)
    losses = _train(directory, model, train, config, seed, _loss(method, config, teacher))
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


def _completed(directory: Path, wanted: Mapping[str, object]) -> CheckpointCard:
    card = read_card(directory)
    for field, value in wanted.items():
        if getattr(card, field) != value:
            raise ValueError(f"{directory / CARD_FILE}: made with another {field}; remove the folder or use another")
    return card


def _loss(
    method: str, config: RunConfig, teacher: CheckpointCard | None
) -> Callable[[Batch, Mapping[str, Tensor]], Tensor]:
    """The batch's loss: the weighted mean over the tasks that have labelled rows in it."""
    temperatures = {} if teacher is None else {n: p.temperature for n, p in teacher.policy.tasks.items()}
    weights = config.optimiser.task_weights

    def loss_of(batch: Batch, logits: Mapping[str, Tensor]) -> Tensor:
        terms, total = [], 0.0
        for name, rows in batch.tasks.items():
            if len(rows.positions_N) == 0:
                continue
            task = TaskBatch(
                rows.task.kind,
                logits[name][rows.positions_N],
                rows.targets,
                rows.teacher_NK,
                temperatures.get(name, 1.0),
            )
            weight = weights.get(name, 1.0)
            terms.append(weight * METHODS[method](task, config.distillation))
            total += weight
        if not terms:
            return torch.stack([value.sum() for value in logits.values()]).sum() * 0.0
        return torch.stack(terms).sum() / total

    return loss_of


def _train(
    directory: Path,
    model: nn.Module,
    train: RowSet,
    config: RunConfig,
    seed: int,
    loss_of: Callable[[Batch, Mapping[str, Tensor]], Tensor],
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
                loss_of,
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
