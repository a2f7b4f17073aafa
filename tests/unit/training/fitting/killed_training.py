"""A training that the system kills: run in a process of its own by ``test_resume``."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch

import training.fitting.loop as loop_module
from tests.unit.training.conftest import Toy
from training.config import RunConfig
from training.fitting.fit import fit
from training.fitting.operation import Operation


def train_until_killed(directory: Path, toy: Toy, config: RunConfig, threads: int, step: int) -> None:
    """Gets SIGKILL in the given step (from 1), with its gradient computed and its weights not yet changed. Spawned."""
    torch.set_num_threads(threads)
    real, done = loop_module.train_step, []

    def killed(*args: object) -> float:
        loss = real(*args)  # type: ignore[arg-type]
        done.append(loss)
        if len(done) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss

    loop_module.train_step = killed  # type: ignore[assignment]
    fit(directory, toy.data, config, method="ce", seed=5, operation=Operation(save_every_steps=2))
