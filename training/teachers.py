"""The teachers of one trial, each trained when the first method asks for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.checkpoint import CheckpointCard, Role
from training.config import RunConfig
from training.distillation.method import TeacherRole
from training.fit import FitData, fit
from training.privileged import PrivilegedStatistics
from training.soft_targets import read_soft_targets, write_soft_targets

_PLAIN_SEED_OFFSET = 100_000
"""A plain teacher of the student's own seed would start from the same weights and see the same batches."""


@dataclass(frozen=True)
class Taught:
    """A trained teacher: its card, and task -> (N, K) logits of the training rows."""

    card: CheckpointCard
    soft_targets: dict[str, NDArray[np.float32]]


@dataclass
class Teachers:
    """Trains, or finds trained, the teachers that methods ask for."""

    home: Path
    data: FitData
    config: RunConfig
    statistics: PrivilegedStatistics
    seed: int
    _ready: dict[str, Taught] = field(default_factory=dict)

    def get(self, role: TeacherRole) -> Taught:
        """The teacher of this role.

        Raises:
            ValueError: no teacher is trained ahead for this role.
        """
        if role == "plain_large" and self.config.kd_teacher is None:
            role = "plain"
        if role not in self._ready:
            self._ready[role] = self._train(role)
        return self._ready[role]

    def _train(self, role: TeacherRole) -> Taught:
        suffix = "" if role == "privileged" else f"_{role}"
        directory = self.home / f"teacher{suffix}"
        config, seed, statistics, kind = self._inputs(role)
        card = fit(directory, self.data, config, method="ce", seed=seed, statistics=statistics, role=kind)
        path = write_soft_targets(self.home / f"soft_targets{suffix}", directory, self.data.train)
        return Taught(card, read_soft_targets(path, card, self.data.train))

    def _inputs(self, role: TeacherRole) -> tuple[RunConfig, int, PrivilegedStatistics | None, Role]:
        plain_seed = self.seed + _PLAIN_SEED_OFFSET
        match role:
            case "privileged":
                return self.config, self.seed, self.statistics, "teacher"
            case "privileged_only":
                return self.config, self.seed, self.statistics, "privileged_only_teacher"
            case "plain":
                return self.config, plain_seed, None, "plain_teacher"
            case "plain_large":
                config = self.config
                own = {"model": config.kd_teacher, "pretrained": config.kd_teacher_pretrained}
                return config.model_copy(update=own), plain_seed, None, "plain_teacher"
            case _:
                raise ValueError(f"no teacher is trained ahead for {role!r}")
