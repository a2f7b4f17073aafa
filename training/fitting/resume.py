"""The state from which a killed training is resumed, and the handling of SIGTERM.

One file, written whole and then put in the place of the old one: weights, optimiser, schedule, the learning curve,
how far the epoch is, and the random generators of every process. Which batch comes next needs no state: the plan of an
epoch is a function of the seed.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from training.fitting.checkpoint import CheckpointError, save_tensors
from training.fitting.kept_weights import KeptWeights, trained_state
from training.fitting.learning_curve import LearningCurve

_LOG = logging.getLogger(__name__)
STATE_FILE = "resume.pt"
_VERSION = 3
_RANK_STRIDE = 7_919
EXIT_ON_SIGTERM = 128 + signal.SIGTERM


@dataclass
class Progress:
    """Epoch and step that a training has reached.

    Attributes:
        epoch: the one under way, from 0.
        position: batches of it that are done.
        curve: of all steps that are done.
    """

    epoch: int = 0
    position: int = 0
    curve: LearningCurve = field(default_factory=LearningCurve)


@dataclass(frozen=True)
class Trainable:
    """What changes from step to step, except random generators."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    kept: KeptWeights


def save_state(
    directory: Path, identity: str, trainable: Trainable, progress: Progress, accelerator: Accelerator
) -> None:
    """Writes the state; all processes must call, rank 0 writes.

    Args:
        directory: of the checkpoint.
        identity: digest of what is trained on what.
        trainable: with the model as it was before the accelerator wrapped it.
        progress: of the training.
        accelerator: of this process.
    """
    generators = gather_object([_generators(accelerator.device)])
    if not accelerator.is_main_process:
        return
    progress.curve.write(directory)
    save_tensors(
        directory / STATE_FILE,
        {
            "version": _VERSION,
            "identity": identity,
            "model": trained_state(trainable.model),
            "kept": trainable.kept.state(),
            "optimiser": trainable.optimiser.state_dict(),
            "schedule": trainable.schedule.state_dict(),
            "generators": generators,
            "epoch": progress.epoch,
            "position": progress.position,
            "curve": progress.curve.document(),
        },
    )


def load_state(directory: Path, identity: str, trainable: Trainable, seed: int, accelerator: Accelerator) -> Progress:
    """Puts back what ``save_state`` wrote; a fresh ``Progress`` where it wrote nothing.

    With another number of processes than before, dropout goes on from new draws: all else is as it was.

    Raises:
        CheckpointError: the state is an earlier version's, or of a training with other inputs.
    """
    path = directory / STATE_FILE
    if not path.exists():
        return Progress()
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state.get("version") != _VERSION:
        raise CheckpointError(f"{path}: written by another version of this program; remove it to train anew")
    if state["identity"] != identity:
        raise CheckpointError(f"{path}: state of a training with other inputs; remove the folder or use another")
    trainable.model.load_state_dict(trainable.model.state_dict() | state["model"])
    trainable.kept.load(state["kept"])
    trainable.optimiser.load_state_dict(state["optimiser"])
    trainable.schedule.load_state_dict(state["schedule"])
    progress = Progress(state["epoch"], state["position"], LearningCurve.of(state["curve"]))
    _restore_generators(state["generators"], len(progress.curve.steps.step), seed, accelerator)
    _LOG.info("%s: resumed in epoch %d after %d batches", directory, progress.epoch + 1, progress.position)
    return progress


def separate_dropout(seed: int, accelerator: Accelerator) -> None:
    """Gives every process but the first its own dropout seed, after all have built the same model."""
    if accelerator.process_index > 0:
        torch.manual_seed(seed + _RANK_STRIDE * accelerator.process_index)


def _generators(device: torch.device) -> dict[str, Any]:
    drawn: Any = np.random.get_state()
    keys_M = torch.from_numpy(drawn[1].astype(np.int64))
    state = {
        "torch": torch.get_rng_state(),
        "numpy": [str(drawn[0]), keys_M, int(drawn[2]), int(drawn[3]), float(drawn[4])],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _restore_generators(saved: Sequence[Mapping[str, Any]], step: int, seed: int, accelerator: Accelerator) -> None:
    if len(saved) != accelerator.num_processes:
        _LOG.warning("resumed on %d processes after %d: other draws of dropout", accelerator.num_processes, len(saved))
        torch.manual_seed(seed + _RANK_STRIDE * (accelerator.process_index + accelerator.num_processes * step))
        return
    state = saved[accelerator.process_index]
    torch.set_rng_state(state["torch"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    if "cuda" in state and accelerator.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], accelerator.device)


class StopRequest:
    """Delays SIGTERM inside the block: the loop asks ``made`` between two steps, so that no step is half done."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._received = False
        self._previous: Any = None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def made(self) -> bool:
        """Whether any process received SIGTERM. All processes must ask."""
        if self._accelerator.num_processes == 1:
            return self._received
        if self._received:
            self._accelerator.set_trigger()
        return bool(self._accelerator.check_trigger())

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        self._received = True
