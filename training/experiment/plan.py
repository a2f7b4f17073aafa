"""What an experiment consists of: trials over seeds and folds, methods, one configuration; and where it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from contract.frozen import FrozenDocument
from training.config import RunConfig, faults_in
from training.data.manifest import Manifest
from training.distillation.registry import require_known

EXPERIMENT_FILE = "experiment.json"
TOKENIZER_FILE = "tokenizer.json"
FINAL_FOLDER = "final"
"""Of the students that have seen every fold."""
DEFAULT_METHODS = ("ce", "pfd", "cpfd")


class Trial(FrozenDocument):
    """One seed, and the fold it is tested on (None where the manifest has no folds)."""

    seed: int = Field(ge=0)
    test_fold: int | None = None

    @property
    def name(self) -> str:
        return f"seed{self.seed}" + ("" if self.test_fold is None else f"-fold{self.test_fold}")


class ExperimentPlan(FrozenDocument):
    """What is compared, as ``experiment.json`` records it."""

    trials: tuple[Trial, ...] = Field(min_length=1)
    methods: tuple[str, ...] = DEFAULT_METHODS
    config: RunConfig
    manifest_digest: str

    @field_validator("methods")
    @classmethod
    def _methods_exist(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        require_known(methods)
        if len(set(methods)) != len(methods):
            raise ValueError("a method is named twice")
        return methods


@dataclass(frozen=True)
class Workplace:
    """Where an experiment reads and writes, and with how many processes: none of it affects the results.

    Attributes:
        out: of the results.
        cache: of decoded frames, or of shards that were fetched.
        vocabulary: a BERT ``vocab.txt``; None learns one.
        shards: a folder or URL with shards of the manifest; None decodes the clips.
        workers: processes that read batches, for each trial at a time; 0 reads them in the trial's own.
    """

    out: Path
    cache: Path
    vocabulary: Path | None
    shards: str | None = None
    workers: int = 0


def plan_trials(manifest: Manifest, seeds: int) -> tuple[Trial, ...]:
    """One trial a seed; with folds, each seed is tested on the next fold, so that every fold row is tested."""
    return tuple(Trial(seed=s, test_fold=s % manifest.folds if manifest.folds else None) for s in range(seeds))


def read_plan(out: Path, manifest: Manifest) -> ExperimentPlan:
    """The plan of the experiment in ``out``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read, or was run on another manifest.
    """
    path = out / EXPERIMENT_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; `python -m training run --out {out}` writes it")
    try:
        plan = ExperimentPlan.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path}: {faults_in(error)}") from error
    if plan.manifest_digest != manifest.digest():
        raise ValueError(f"{path}: run on another manifest than the one given")
    return plan
