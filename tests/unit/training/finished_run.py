"""A run folder as ``training run`` leaves it, with made-up logits instead of trained models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.decision import DecisionPolicy, Modality, TaskKind, TaskPolicy, TaskSpec
from training.atomic_write import write_json
from training.config import RunConfig
from training.data.manifest import Manifest, Row, Split
from training.experiment.plan import EXPERIMENT_FILE, ExperimentPlan, Trial
from training.experiment.predictions import PREDICTIONS_FILE
from training.fitting.checkpoint import CARD_FILE, CheckpointCard
from training.teachers.confidence_record import CONFIDENCE_FILE
from training.teachers.soft_targets import SOFT_TARGETS_FILE

SPAM = TaskSpec(name="spam", kind=TaskKind.BINARY, labels=("no", "yes"), modalities=(Modality.TEXT,))
TOPICS = TaskSpec(name="topics", kind=TaskKind.MULTILABEL, labels=("a", "b"), modalities=(Modality.TEXT,))
METHODS = ("ce", "kd", "pfd", "cpfd", "cpfd_shuffled")
HOSTILE = '<img src=x onerror="alert(1)">&$x_1$'


@dataclass(frozen=True)
class FinishedRun:
    manifest: Manifest
    runs: Path
    plan: ExperimentPlan


SHARPNESS: Mapping[str, float] = {
    "teacher": 3.0,
    "cpfd": 1.2,
    "pfd": 0.9,
    "kd": 0.7,
    "cpfd_shuffled": 0.8,
    "ce": 0.5,
}
"""How far the made-up logits of each method stand from noise."""


def make_finished_run(
    home: Path,
    config: RunConfig,
    *,
    hostile: bool = False,
    slices: bool = True,
    sharpness: Mapping[str, float] = SHARPNESS,
    rows: int = 144,
) -> FinishedRun:
    """Two seeds on one fixed split; a third of the rows tests, a third trains. A group has nine rows."""
    manifest = _manifest(hostile, slices, rows)
    if hostile:
        config = config.model_copy(update={"model": config.model.model_copy(update={"name": HOSTILE})})
    trials = (Trial(seed=0), Trial(seed=1))
    plan = ExperimentPlan(trials=trials, methods=METHODS, config=config, manifest_digest=manifest.digest())
    home.mkdir(parents=True)
    write_json(home / EXPERIMENT_FILE, plan.model_dump(mode="json"))
    for trial in trials:
        _write_trial(home / trial.name, manifest, plan, trial, sharpness)
    return FinishedRun(manifest, home, plan)


def _manifest(hostile: bool, slices: bool, number: int) -> Manifest:
    rows = []
    parts: tuple[Split, ...] = ("train", "test", "val")
    for i in range(number):
        labels: dict[str, str | list[str]] = {
            "spam": "yes" if i // 3 % 2 else "no",
            "topics": [name for bit, name in enumerate("ab") if i // 3 >> bit & 1],
        }
        value = HOSTILE if hostile else "fr"
        sliced = {"country": value if i // 6 % 2 else "us"} if slices else {}
        split, group = parts[i % 3], f"g{i // 9}"
        rows.append(Row(id=f"r{i}", texts={"title": f"t{i}"}, labels=labels, split=split, group=group, slices=sliced))
    return Manifest(name=HOSTILE if hostile else "made_up", tasks=(SPAM, TOPICS), rows=tuple(rows))


def _write_trial(
    home: Path, manifest: Manifest, plan: ExperimentPlan, trial: Trial, sharpness: Mapping[str, float]
) -> None:
    rows = manifest.split_rows(trial.test_fold)
    for position, method in enumerate(("teacher", *plan.methods)):
        rng = np.random.default_rng([trial.seed, position])
        (home / method).mkdir(parents=True)
        card = _card(plan, trial, method)
        write_json(home / method / CARD_FILE, card.model_dump(mode="json"))
        np.savez(home / method / PREDICTIONS_FILE, **_logits(rows["test"], sharpness[method], rng))
    rng = np.random.default_rng([trial.seed, 99])
    (home / "soft_targets").mkdir()
    header = np.frombuffer(json.dumps({"teacher_digest": "t"}).encode(), np.uint8)
    np.savez(home / "soft_targets" / SOFT_TARGETS_FILE, header=header, **_logits(rows["train"], 5.0, rng))
    (home / "controls").mkdir()
    np.savez(
        home / "controls" / "container_only-spam.npz",
        row_ids=np.asarray([row.id for row in rows["test"]]),
        scores=rng.random(len(rows["test"])),
        threshold=0.5,
    )
    write_json(home / CONFIDENCE_FILE, {"train": {"spam": 0.9}, "test": {"spam": 0.8}})


def _logits(rows: list[Row], sharpness: float, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    spam = np.asarray([[row.labels["spam"] == "yes"] for row in rows])
    topics = np.asarray([[name in row.labels["topics"] for name in "ab"] for row in rows])
    made = {"spam": spam, "topics": topics}
    noisy = {
        f"logits_{name}": (sharpness * (2.0 * truth - 1) + rng.normal(0, 1.5, truth.shape)).astype(np.float32)
        for name, truth in made.items()
    }
    return {"row_ids": np.asarray([row.id for row in rows]), **noisy}


def _card(plan: ExperimentPlan, trial: Trial, method: str) -> CheckpointCard:
    policy = {
        "spam": TaskPolicy(temperature=1.5, thresholds={"flag": 0.5}),
        "topics": TaskPolicy(temperature=1.2, thresholds={"a": 0.5, "b": 0.5}),
    }
    return CheckpointCard(
        role="teacher" if method == "teacher" else "student",
        method="ce" if method == "teacher" else method,
        config=plan.config,
        tasks=(SPAM, TOPICS),
        policy=DecisionPolicy(tasks=policy),
        seed=trial.seed,
        test_fold=trial.test_fold,
        manifest_digest=plan.manifest_digest,
        tokenizer_digest="0" * 64,
        weights_digest="0" * 64,
        train_rows=48,
        skipped_rows=0,
        losses=(0.9, 0.7, 0.6 + trial.seed / 10),
    )
