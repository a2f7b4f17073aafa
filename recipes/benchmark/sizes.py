"""How much a benchmark trains, and the manifest cut to that."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from contract.frozen import FrozenDocument
from training.config import ConfigError, faults_in
from training.data.manifest import Manifest, Row
from training.distillation.registry import METHODS, require_known
from training.experiment.plan import Trial, plan_trials

SizeName = Literal["quick", "standard", "every", "confirm", "full"]


class BenchmarkSize(FrozenDocument):
    """One entry of ``configs/benchmark_sizes.yaml``."""

    config: str
    """The preset, beside the file of sizes."""
    trials: int | None = Field(default=None, ge=1)
    """How many trials, each on the next fold; or give ``seeds_per_fold``."""
    seeds_per_fold: int | None = Field(default=None, ge=1)
    """Every fold is tested with so many seeds of its own."""
    methods: tuple[str, ...] | Literal["all"] = "all"
    max_rows: int | None = Field(default=None, ge=8)
    """Keep so many rows of each task in each fold or split; without it all are used."""
    replicates: int = Field(default=2000, ge=100)
    """Of the bootstrap."""

    @model_validator(mode="after")
    def _countable(self) -> BenchmarkSize:
        if (self.trials is None) == (self.seeds_per_fold is None):
            raise ValueError("give either trials or seeds_per_fold")
        if self.methods != "all":
            require_known(self.methods)
        return self

    @property
    def method_names(self) -> tuple[str, ...]:
        """The methods, in the registry's order where all are meant."""
        return tuple(METHODS) if self.methods == "all" else self.methods

    def plan(self, manifest: Manifest) -> tuple[Trial, ...]:
        """The trials: seed s is tested on fold s modulo folds, so seeds of a fold differ and so do those of folds.

        These are the trials of ``training run --seeds N``, which a benchmark can therefore take over and extend.
        """
        count = self.trials or (self.seeds_per_fold or 1) * max(1, manifest.folds)
        return plan_trials(manifest, count)


def read_sizes(path: Path) -> dict[str, BenchmarkSize]:
    """The sizes in a YAML file, by name.

    Raises:
        ConfigError: it cannot be read; the message names the file and the field.
    """
    try:
        document = yaml.safe_load(path.read_text())
        if not isinstance(document, dict):
            raise ConfigError(f"{path}: expected size -> its fields")
        return {str(name): _read_size(path, str(name), fields) for name, fields in document.items()}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {error}") from error


def _read_size(path: Path, name: str, fields: object) -> BenchmarkSize:
    try:
        return BenchmarkSize.model_validate(fields)
    except ValidationError as error:
        raise ConfigError(f"{path}: {name}: {faults_in(error)}") from error


def reduced(manifest: Manifest, max_rows: int | None) -> Manifest:
    """The manifest with at most ``max_rows`` rows of each task in each fold or split, chosen by a hash of the id.

    The choice knows no label, so shares of positives stay what they are but for chance.
    """
    if max_rows is None:
        return manifest
    kept: set[str] = set()
    taken: Counter[tuple[str, str | int | None]] = Counter()
    for row in sorted(manifest.rows, key=_rank):
        places = [(task, row.split or row.fold) for task in row.labels]
        if not places or any(taken[place] < max_rows for place in places):
            kept.add(row.id)
            taken.update(places)
    rows = tuple(row for row in manifest.rows if row.id in kept)
    return manifest.model_copy(update={"rows": rows, "name": f"{manifest.name}-{max_rows}"})


def _rank(row: Row) -> str:
    return hashlib.sha256(row.id.encode()).hexdigest()
