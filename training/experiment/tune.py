"""A bounded search on validation rows: settings drawn from a space, each a short training, the best written down.

    <out>/experiment.json, tokenizer.json, trunk_features.json     as of a run
    <out>/seed0-fold0/teacher | soft_targets                       of the preset as it is; all tries learn from it
    <out>/tried/000.json, 001.json ...                             what each try was, and how it did
    <out>/tune.json, best.yaml                                     all of them; the preset with the best one's fields

The first try is the preset itself. Draws depend on the seed and the try's number alone, so that a search goes on where
it was, and a larger budget adds to a smaller one. Test rows are never looked at.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import Field, model_validator
from tqdm import tqdm

from contract.frozen import FrozenDocument
from training.atomic_write import replace_text, write_json
from training.config import RunConfig, changed, read_document
from training.data.loading.row_set import with_soft_targets
from training.data.manifest import Manifest
from training.distillation.registry import METHODS
from training.experiment.plan import ExperimentPlan, Trial, Workplace
from training.experiment.run import open_experiment, trial_data
from training.fitting.checkpoint import read_checkpoint
from training.fitting.fit import FitData, fit
from training.fitting.learning_curve import validation_pr_auc
from training.fitting.predict import predict
from training.teachers.trial_teachers import Taught, Teachers

_DIGITS = 4
"""Of a drawn number: enough, and short to read."""


class FieldSpace(FrozenDocument):
    """What a field is drawn from: a span, evenly or evenly in its logarithm, or some choices."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    @model_validator(mode="after")
    def _one_of_two(self) -> FieldSpace:
        span = self.low is not None and self.high is not None
        if span == bool(self.choices) or (self.low is None) != (self.high is None):
            raise ValueError("give low and high, or choices")
        if self.low is not None and self.high is not None and (self.low >= self.high or (self.log and self.low <= 0)):
            raise ValueError("low must be below high, and above 0 where log is set")
        return self

    def drawn(self, rng: np.random.Generator) -> Any:
        """One value."""
        if self.choices:
            return self.choices[int(rng.integers(len(self.choices)))]
        assert self.low is not None
        assert self.high is not None
        if self.log:
            value = float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))
        else:
            value = float(rng.uniform(self.low, self.high))
        return float(f"{value:.{_DIGITS}g}")


class TuningSpace(FrozenDocument):
    """Dotted path of a field -> what it is drawn from."""

    fields: dict[str, FieldSpace] = Field(min_length=1)

    def draw(self, seed: int, number: int) -> dict[str, Any]:
        """The fields of a try; of the first, none: it is the preset as it is."""
        if number == 0:
            return {}
        rng = np.random.default_rng([seed, number])
        return {path: space.drawn(rng) for path, space in self.fields.items()}


_FREE = ("optimiser.", "distillation.")
_SHARED = ("optimiser.augmentation", "optimiser.refit")
"""Fields that decide what the tries share."""


def read_space(path: Path) -> TuningSpace:
    """The space in a YAML file. Raises ConfigError as ``read_document``."""
    return read_document(path, TuningSpace)


def tune(
    manifest: Manifest, plan: ExperimentPlan, place: Workplace, space: TuningSpace, *, budget: int, seed: int = 0
) -> dict[str, Any]:
    """Tries settings until the budget is spent; writes ``tune.json`` and ``best.yaml`` and returns the former.

    Args:
        manifest: any.
        plan: its trials, and its one method; the preset's refit is left for afterwards.
        place: where to.
        space: what is tried.
        budget: how many tries there shall be, those of earlier calls counted in.
        seed: of the draws.

    Raises:
        ConfigError: a field of the space is none of the preset's, or a value does not fit.
        ValueError: a field decides what tries share, the method is none that learns from labels or soft targets alone,
            or the folder holds another experiment, or another search.
    """
    (method,) = plan.methods
    needs = METHODS[method]
    if shared := [path for path in space.fields if not path.startswith(_FREE) or path.startswith(_SHARED)]:
        raise ValueError(f"{shared[0]} cannot be tuned: all tries share the preset's data, teacher and size of model")
    if needs.needs_features or needs.predicts_privileged or needs.teacher == "joint":
        raise ValueError(f"method {method} trains more than a student: tune ce, or one that learns from soft targets")
    configs = [changed(plan.config, {**space.draw(seed, n), "optimiser.refit": False}) for n in range(budget)]
    open_experiment(manifest, plan, place)
    _require_same(place.out, {"space": space.model_dump(mode="json"), "seed": seed, "method": method})
    missing = [n for n in range(budget) if not _tried(place.out, n).exists()]
    if missing:
        rows = [_rows(manifest, plan, trial, place) for trial in plan.trials]
        for n in tqdm(missing, desc="tries", disable=None):
            scores = [
                _score(place.out / "trying" / trial.name, data, configs[n], method, trial, taught)
                for trial, (data, taught) in zip(plan.trials, rows, strict=True)
            ]
            write_json(_tried(place.out, n), _record(n, space.draw(seed, n), scores))
            shutil.rmtree(place.out / "trying")
    tried = [json.loads(_tried(place.out, n).read_text()) for n in range(budget)]
    best = max(tried, key=lambda one: one["mean"])
    document = {"method": method, "trials": [t.name for t in plan.trials], "best": best, "tried": tried}
    write_json(place.out / "tune.json", document)
    chosen = changed(plan.config, best["changes"]).model_dump(mode="json")
    replace_text(place.out / "best.yaml", yaml.safe_dump(chosen, sort_keys=False))
    return document


def _tried(out: Path, number: int) -> Path:
    return out / "tried" / f"{number:03d}.json"


def _require_same(out: Path, search: Mapping[str, Any]) -> None:
    path = out / "search.json"
    (out / "tried").mkdir(exist_ok=True)
    if path.exists() and json.loads(path.read_text()) != search:
        raise ValueError(f"{path}: another search lies here; choose another folder or remove it")
    write_json(path, search)


def _rows(manifest: Manifest, plan: ExperimentPlan, trial: Trial, place: Workplace) -> tuple[FitData, Taught | None]:
    """What a try reads in one trial, with the soft targets of the preset's own teacher where the method has one."""
    data, _, statistics = trial_data(manifest, plan, trial, place)
    needs = METHODS[plan.methods[0]]
    if not needs.reads_soft_targets:
        return data, None
    plain = changed(plan.config, {"optimiser.refit": False})
    taught = Teachers(place.out / trial.name, data, plain, statistics, trial.seed).get(needs.teacher)
    return replace(data, train=with_soft_targets(data.train, taught.soft_targets)), taught


def _score(
    home: Path, data: FitData, config: RunConfig, method: str, trial: Trial, taught: Taught | None
) -> dict[str, float]:
    """Task -> PR-AUC on validation rows; tasks without a positive one are left out."""
    card = None if taught is None else taught.card
    if home.exists():
        shutil.rmtree(home)  # of a try that was cut short, perhaps another one
    fit(home, data, config, method=method, seed=trial.seed, teacher=card, role="student")
    model, _ = read_checkpoint(home)
    scores = validation_pr_auc(predict(model, data.val, data.tasks), data.val.targets)
    return {name: float(score) for name, score in scores.items() if np.isfinite(score)}


def _record(number: int, changes: dict[str, Any], scores: list[dict[str, float]]) -> dict[str, Any]:
    names = list(dict.fromkeys(name for one in scores for name in one))
    tasks = {name: float(np.mean([one[name] for one in scores if name in one])) for name in names}
    return {"try": number, "changes": changes, "val_pr_auc": tasks, "mean": float(np.mean(list(tasks.values())))}
