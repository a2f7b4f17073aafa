"""The training loop: all epochs of one training, on any number of processes, recorded and resumable."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from training.config import OptimiserConfig, RunConfig
from training.data.loading.epoch_batches import batches_in_epoch
from training.data.loading.row_set import RowSet
from training.distillation.batch_loss import LossPlan
from training.fitting.kept_weights import KeptWeights
from training.fitting.learning_curve import LearningCurve, validation_pr_auc
from training.fitting.operation import Operation
from training.fitting.predict import predict
from training.fitting.resume import EXIT_ON_SIGTERM, StopRequest, Trainable, load_state, save_state, separate_dropout
from training.fitting.shared_batches import shared_batches
from training.fitting.train_step import train_step
from training.models.gradient_checkpointing import checkpoint_layers
from training.models.trained import Trained

_LOG = logging.getLogger(__name__)
_ENCODERS = re.compile(r"(^|\.)(vision_encoder\.(trunk|swin)|text_encoder)\.")
_NGRAMS = re.compile(r"(^|\.)ngrams\.")
_NOT_DECAYED = re.compile(
    r"(^|\.)(no_video|no_text|frame_position)$|relative_position_bias_table$|position_embeddings|(^|\.)moment_heads\."
)


@dataclass(frozen=True)
class Assignment:
    """What one training needs: model, rows, loss, and where its state is kept.

    Attributes:
        directory: of the checkpoint.
        identity: digest of everything that decides the weights.
        model: what is trained, a companion included.
        predictor: the part of it that will predict.
        train, val: rows; ``val`` is only looked at where the operation says so.
        config: of the run.
        seed: of the batches and of dropout.
        losses: of the batches.
        stop_after: epochs, of those configured, after which it ends; a refit ends where its selection did.
    """

    directory: Path
    identity: str
    model: nn.Module
    predictor: nn.Module
    train: RowSet
    val: RowSet
    config: RunConfig
    seed: int
    losses: LossPlan
    stop_after: int | None = None


class Trainer:
    """One training on this process."""

    def __init__(self, assignment: Assignment, operation: Operation, accelerator: Accelerator) -> None:
        """Moves the model to the device, in place, and loads the state of an earlier run that was stopped.

        Raises:
            CheckpointError: such a state is there and is not this training's.
        """
        self._task, self._operation, self._accelerator = assignment, operation, accelerator
        options = assignment.config.optimiser
        self._steps = batches_in_epoch(assignment.train, options)
        if operation.gradient_checkpointing:
            checkpoint_layers(assignment.model)
        assignment.model.to(accelerator.device)
        self._model = accelerator.prepare_model(Trained(assignment.model))
        groups = parameter_groups(assignment.model, options)
        optimiser = torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.98), fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: learning_rate_factor(step, self._steps * options.epochs, options)
        )
        self._chooses = options.keep == "best" and assignment.stop_after is None
        kept = KeptWeights(assignment.model, options.ema_decay, best=self._chooses)
        self._trainable = Trainable(assignment.model, optimiser, schedule, kept)
        separate_dropout(assignment.seed, accelerator)
        self._progress = load_state(
            assignment.directory, assignment.identity, self._trainable, assignment.seed, accelerator
        )
        self._clock = time.perf_counter()

    @property
    def epochs_kept(self) -> int | None:
        """After how many epochs the kept weights are; None where all configured ones count."""
        return self._trainable.kept.epoch + 1 if self._chooses else self._task.stop_after

    def run(self) -> LearningCurve:
        """Trains what is left of the configured epochs.

        Raises:
            FloatingPointError: the loss is no longer finite.
            SystemExit: SIGTERM came; the state was saved between two steps.
        """
        with (
            _trackers(self._accelerator, self._operation, self._task.directory),
            StopRequest(self._accelerator) as stop,
        ):
            while self._progress.epoch < (self._task.stop_after or self._task.config.optimiser.epochs):
                self._epoch(stop)
        self._trainable.kept.restore()
        return self._progress.curve

    def _epoch(self, stop: StopRequest) -> None:
        progress, options = self._progress, self._task.config.optimiser
        label = f"{self._task.directory.name} epoch {progress.epoch + 1}/{options.epochs}"
        batches = shared_batches(
            self._task.train,
            options,
            self._task.seed,
            progress.epoch,
            rank=self._accelerator.process_index,
            processes=self._accelerator.num_processes,
            start=progress.position,
        )
        loss_of = self._task.losses.epoch(progress.epoch, self._steps)
        self._model.train()
        hidden = None if self._accelerator.is_main_process else True
        for batch in tqdm(
            batches, total=self._steps, initial=progress.position, desc=label, leave=False, disable=hidden
        ):
            loss = train_step(self._model, batch, loss_of, progress.position, self._accelerator)
            self._update(loss, batch.size, label)
            self._between_steps(stop)
        self._end_epoch(label)

    def _update(self, loss: float, rows: int, label: str) -> None:
        """One optimiser step; refuses a loss that is not finite."""
        if loss != loss or loss in (float("inf"), float("-inf")):
            raise FloatingPointError(f"{label}: the loss is {loss}: lower the learning rate or the batch's lambda")
        optimiser, schedule = self._trainable.optimiser, self._trainable.schedule
        self._accelerator.clip_grad_norm_(self._trainable.model.parameters(), self._task.config.optimiser.clip_norm)
        lr = schedule.get_last_lr()[0]
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        self._trainable.kept.after_step()
        self._progress.position += 1
        number = self._progress.curve.add_step(self._progress.epoch, loss, lr)
        now = time.perf_counter()
        if self._operation.track is not None:
            speed = rows / max(now - self._clock, 1e-9)
            self._accelerator.log({"train/loss": loss, "train/lr": lr, "train/samples_per_s": speed}, step=number)
        self._clock = now

    def _between_steps(self, stop: StopRequest) -> None:
        every, position = self._operation.save_every_steps, self._progress.position
        stopped = stop.made()
        done = len(self._progress.curve.steps.step)
        if stopped or (every is not None and done % every == 0 and position < self._steps):
            self._save()
        if stopped:
            _LOG.warning("%s: told to end; the state is saved", self._task.directory)
            raise SystemExit(EXIT_ON_SIGTERM)

    def _end_epoch(self, label: str) -> None:
        scores = self._validation_scores()
        known = [score for score in scores.values() if math.isfinite(score)]
        self._trainable.kept.after_epoch(self._progress.epoch, sum(known) / len(known) if known else float("nan"))
        loss = self._progress.curve.end_epoch(self._progress.epoch, scores)
        if self._operation.track is not None:
            shown = {f"val/pr_auc/{task}": score for task, score in scores.items()}
            self._accelerator.log({"epoch/loss": loss} | shown, step=len(self._progress.curve.steps.step))
        self._progress.epoch, self._progress.position = self._progress.epoch + 1, 0
        _LOG.info("%s: loss %.4f", label, loss)
        self._save()

    def _validation_scores(self) -> dict[str, float]:
        if not self._operation.validate_epochs and not self._chooses:
            return {}
        tasks = [targets.task for targets in self._task.val.targets.values()]
        with self._trainable.kept.shown():
            logits = predict(self._task.predictor, self._task.val, tasks, accelerator=self._accelerator)
        return validation_pr_auc(logits, self._task.val.targets)

    def _save(self) -> None:
        save_state(self._task.directory, self._task.identity, self._trainable, self._progress, self._accelerator)


@contextmanager
def _trackers(accelerator: Accelerator, operation: Operation, directory: Path) -> Iterator[None]:
    if operation.track is None:
        yield
        return
    accelerator.init_trackers(
        "tensorboard" if operation.log_dir is None else f"{directory.parent.name}-{directory.name}"
    )
    try:
        yield
    finally:
        for tracker in accelerator.trackers:  # ``end_training`` would part the processes, and other fits follow
            tracker.finish()


def learning_rate_factor(step: int, total: int, options: OptimiserConfig) -> float:
    """The learning rate's factor: linear up over the warm-up, then down to zero, linearly or along a cosine."""
    warmup = max(1, int(total * options.warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    left = max(0.0, (total - step) / max(1, total - warmup))
    return left if options.schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)


def parameter_groups(model: nn.Module, options: OptimiserConfig) -> list[dict[str, object]]:
    """What is trained, in groups by rate and decay; frozen parameters are in none.

    Biases, norms, embedded positions, missing-modality tokens and Swin's bias tables do not decay: they are vectors of
    offsets, which decay would pull to a value that means something else (docs/method.md 3.1).
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = options.lr
        if _ENCODERS.search(name):
            rate = options.encoder_lr or options.lr
        elif _NGRAMS.search(name):
            rate = options.ngram_lr or options.lr
        decay = 0.0 if parameter.ndim < 2 or _NOT_DECAYED.search(name) else options.weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": some, "lr": rate, "weight_decay": decay} for (rate, decay), some in groups.items()]
