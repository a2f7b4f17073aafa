"""Which fusion makes the best teacher: each is trained on every trial and scored on validation rows, never on test.

<out>/seed0-fold0/teacher_<fusion>      a checkpoint for each fusion
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from tqdm import tqdm

from contract.decision import TaskKind
from training.config import FusionName
from training.data.loading.row_set import RowSet, with_privileged
from training.data.manifest import Manifest
from training.data.targets import TaskTargets, flag_targets
from training.distillation.task_losses import cross_entropy
from training.evaluation.calibration import flag_scores
from training.experiment.plan import ExperimentPlan, Workplace
from training.experiment.run import prepare, trial_data
from training.fitting.checkpoint import read_checkpoint
from training.fitting.fit import fit
from training.fitting.predict import predict

FUSIONS: tuple[FusionName, ...] = get_args(FusionName)


def compare_fusions(manifest: Manifest, plan: ExperimentPlan, place: Workplace) -> dict[str, Any]:
    """Fusion -> task -> PR-AUC of the flag and cross-entropy (nats, uncalibrated) on validation rows.

    Each is given as its mean over trials and trial by trial; PR-AUC is None without a positive row.

    Args:
        manifest: with privileged groups.
        plan: its trials and configuration; its methods are not trained.
        place: where checkpoints go; those that are complete are not trained again.

    Raises:
        ValueError: the manifest has no privileged features, or the folder holds checkpoints of another configuration.
    """
    if not manifest.privileged_groups:
        raise ValueError("the manifest has no privileged features: there is nothing to fuse")
    prepare(manifest, plan, place, workers=1)
    scores: dict[str, list[dict[str, dict[str, float | None]]]] = {name: [] for name in FUSIONS}
    for trial in tqdm(plan.trials, desc="trials", disable=None):
        data, parts, statistics = trial_data(manifest, plan, trial, place)
        val = with_privileged(parts["val"], statistics)
        for name in FUSIONS:
            teacher = plan.config.teacher.model_copy(update={"fusion": name})
            config = plan.config.model_copy(update={"teacher": teacher})
            home = place.out / trial.name / f"teacher_{name}"
            fit(home, data, config, method="ce", seed=trial.seed, statistics=statistics, role="teacher")
            scores[name].append(_scores(home, val))
    return {
        "split": "val",
        "trials": [trial.name for trial in plan.trials],
        "fusions": {name: _over_trials(trials) for name, trials in scores.items()},
    }


def _scores(directory: Path, val: RowSet) -> dict[str, dict[str, float | None]]:
    model, card = read_checkpoint(directory)
    logits = predict(model, val, card.tasks)
    return {
        name: {
            "pr_auc": _pr_auc(logits[name][targets.labelled], targets, card.temperatures[name]),
            "ce": _cross_entropy(logits[name][targets.labelled], targets),
        }
        for name, targets in val.targets.items()
        if targets.labelled.any()
    }


def _pr_auc(logits_NK: NDArray[np.float32], targets: TaskTargets, temperature: float) -> float | None:
    """Of the flag; the mean over a multilabel task's flagging labels."""
    task = targets.task
    scores, flags = flag_scores(logits_NK, task, temperature), flag_targets(targets)
    columns = [(scores, flags)]
    if task.kind is TaskKind.MULTILABEL:
        columns = [(scores[:, k], flags[:, k]) for k in map(task.labels.index, task.flagged_by)]
    areas = [float(average_precision_score(flag, score)) for score, flag in columns if flag.any()]
    return float(np.mean(areas)) if areas else None


def _cross_entropy(logits_NK: NDArray[np.float32], targets: TaskTargets) -> float:
    values = torch.from_numpy(targets.values[targets.labelled])
    return float(cross_entropy(torch.from_numpy(logits_NK), values, targets.task.kind).mean())


def _over_trials(trials: list[dict[str, dict[str, float | None]]]) -> dict[str, Any]:
    tasks = dict.fromkeys(name for trial in trials for name in trial)
    return {name: _summary([trial[name] for trial in trials if name in trial]) for name in tasks}


def _summary(scores: list[Mapping[str, float | None]] | list[dict[str, float | None]]) -> dict[str, Any]:
    summary: dict[str, Any] = {"trials": list(scores)}
    for metric in ("pr_auc", "ce"):
        defined = [value for one in scores if (value := one[metric]) is not None]
        summary[metric] = float(np.mean(defined)) if defined else None
    return summary
