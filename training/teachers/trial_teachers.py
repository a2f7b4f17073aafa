"""The teachers of one trial; each is trained when a method first needs it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.config import RunConfig
from training.data.loading.row_set import TeacherFeatures
from training.data.manifest import PrivilegedGroup
from training.data.privileged import PrivilegedStatistics
from training.distillation.method import CROSS_FITTED, TeacherRole
from training.fitting.checkpoint import CheckpointCard
from training.fitting.fit import FitData, fit
from training.fitting.operation import PLAIN_OPERATION, Operation
from training.fitting.processes import main_first
from training.fitting.selection import Select, no_selection
from training.models.build import Role
from training.teachers.cross_fitting import CrossFitCard, assign_parts, rows_at
from training.teachers.soft_targets import SoftTargetsError, read_soft_targets, write_cross_fitted, write_soft_targets
from training.teachers.teacher_features import read_teacher_features, write_teacher_features

_PLAIN_SEED_OFFSET = 100_000
"""A plain teacher of the student's own seed would start from the same weights and see the same batches."""
_CROSS_FIT_SEED_OFFSET = 200_000
_PLAIN_CROSS_FIT_SEED_OFFSET = 300_000


@dataclass(frozen=True)
class Taught:
    """A trained teacher: its card (digest and temperatures), and task -> (N, K) logits of the training rows."""

    card: CheckpointCard | CrossFitCard
    soft_targets: dict[str, NDArray[np.float32]]


@dataclass
class Teachers:
    """Trains, or finds trained, the teachers that methods ask for."""

    home: Path
    data: FitData
    config: RunConfig
    statistics: PrivilegedStatistics
    seed: int
    operation: Operation = PLAIN_OPERATION
    selected: Select = no_selection
    """Of a refit: what was chosen for each teacher, by the name of its folder."""
    _ready: dict[str, Taught] = field(default_factory=dict)

    def get(self, role: TeacherRole) -> Taught:
        """The teacher of this role.

        Raises:
            ValueError: no teacher is trained ahead for this role.
        """
        if role == "plain_large" and self.config.kd_teacher is None:
            role = "plain"
        if role not in self._ready:
            self._ready[role] = self._cross_fit(role) if role in CROSS_FITTED else self._train(role)
        return self._ready[role]

    def trained(self, role: TeacherRole) -> Taught | None:
        """The teacher of this role if ``get`` has trained or found it."""
        return self._ready.get(role)

    def features(self, role: TeacherRole) -> TeacherFeatures:
        """The features of the training rows by the teacher of this role, stored beside its soft targets.

        Raises:
            ValueError: no teacher is trained ahead for this role.
            SoftTargetsError: this teacher has no representation that a student could follow.
        """
        if role == "plain_large" and self.config.kd_teacher is None:
            role = "plain"
        card = self.get(role).card
        if isinstance(card, CrossFitCard):
            raise SoftTargetsError(f"{self.home}: {role!r} is several teachers, each with features of its own")
        suffix = "" if role == "privileged" else f"_{role}"
        home = self.home / f"soft_targets{suffix}"
        with main_first():
            path = write_teacher_features(home, self.home / f"teacher{suffix}", self.data.train)
        return read_teacher_features(path, card, self.data.train)

    def _train(self, role: TeacherRole) -> Taught:
        suffix = "" if role == "privileged" else f"_{role}"
        directory = self.home / f"teacher{suffix}"
        config, seed, statistics, kind = self._inputs(role)
        card = fit(
            directory,
            self.data,
            config,
            method="ce",
            seed=seed,
            statistics=statistics,
            role=kind,
            operation=self.operation,
            selection=self.selected(directory.name),
        )
        with main_first():  # the others find the file
            path = write_soft_targets(self.home / f"soft_targets{suffix}", directory, self.data.train)
        return Taught(card, read_soft_targets(path, card, self.data.train))

    def _cross_fit(self, role: TeacherRole) -> Taught:
        """K teachers, each trained without one part of the training rows, standardisation included.

        Privileged and plain ones stand in the same parts, and differ in their seeds as in what they read.
        """
        train, folds = self.data.train, self.config.teacher.cross_fit_folds
        parts = assign_parts(train.rows, folds, self.seed)
        privileged = role == "privileged_crossfit"
        prefix, offset = ("crossfit", _CROSS_FIT_SEED_OFFSET) if privileged else (role, _PLAIN_CROSS_FIT_SEED_OFFSET)
        groups = [PrivilegedGroup(name=group.name, features=group.features) for group in self.statistics.groups]
        directories, cards = [], []
        for part in range(folds):
            seen = rows_at(train, np.flatnonzero(parts != part))
            directories.append(self.home / f"teacher_{prefix}_{part}")
            card = fit(
                directories[-1],
                replace(self.data, train=seen),
                self.config,
                method="ce",
                seed=offset + self.seed * folds + part,
                statistics=PrivilegedStatistics.fit(seen.rows, groups) if privileged else None,
                role="teacher" if privileged else "plain_teacher",
                operation=self.operation,
                selection=self.selected(directories[-1].name),
            )
            cards.append(card)
        home = self.home / f"soft_targets_{role}"
        with main_first():  # the others find the file
            path, together = write_cross_fitted(home, directories, cards, train, parts)
        return Taught(together, read_soft_targets(path, together, train))

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
