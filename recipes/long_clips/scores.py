"""What students say of composed clips: found (ROC-AUC) and pointed at, with intervals over groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from contract.decision import Modality, TaskKind, TaskSpec
from contract.model_graphs import moment_scores
from recipes.long_clips.composition import LongClip, LongClipSettings, compose
from recipes.long_clips.pictures import kept_features, moment_times_s, read_short_clips
from training.config import RunConfig
from training.data.manifest import Manifest, Row
from training.evaluation.bootstrap import draw, interval, mean_over_trials, number
from training.evaluation.metrics import Array, Scored, evaluate
from training.experiment.plan import Trial
from training.fitting.checkpoint import read_checkpoint
from training.fitting.trunk_features import clip_identity, xvlm_of
from training.models.moment_xvlm import MomentXVLM

Part = Literal["test", "val"]


@dataclass(frozen=True)
class Judged:
    """Composed clips of one fold, as a student judges them.

    Attributes:
        clips: N composed clips.
        scores_N: the flag's logit.
        pointed_N: bool: whether the strongest moment lies within the slack of the scene in question.
        chance_N: share of moments that do: what a moment drawn blindly would reach.
    """

    clips: Sequence[LongClip]
    scores_N: Array
    pointed_N: NDArray[np.bool_]
    chance_N: Array


def judged(
    manifest: Manifest,
    trial: Trial,
    checkpoint: Path,
    task: TaskSpec,
    settings: LongClipSettings,
    cache: Path,
    part: Part = "test",
) -> Judged:
    """Composes clips of one trial's held-out fold and lets a checkpoint judge them.

    Args:
        manifest: whose rows have folds or splits.
        trial: which rows are held out.
        checkpoint: the folder of a student that reads moments.
        task: a binary one of clips alone.
        settings: of the composition.
        cache: where the trunk's output is kept.
        part: ``test``, or ``val`` for choosing between models.

    Raises:
        ValueError: the task or the checkpoint is of another kind.
    """
    if task.kind is not TaskKind.BINARY or task.modalities != (Modality.VIDEO,):
        raise ValueError(f"task {task.name}: long clips are composed for yes-or-no tasks of clips alone")
    model, card = read_checkpoint(checkpoint)
    student = xvlm_of(model)
    if student is None:
        raise ValueError(f"{checkpoint}: no model over moments: it points at none")
    clips, features_NKF = composed(manifest, trial, task, settings, student, card.config, cache, part)
    return judge(student, clips, features_NKF, task, settings, card.config)


def composed(
    manifest: Manifest,
    trial: Trial,
    task: TaskSpec,
    settings: LongClipSettings,
    student: MomentXVLM,
    config: RunConfig,
    cache: Path,
    part: Part,
) -> tuple[list[LongClip], NDArray[np.float16]]:
    """Long clips out of one trial's rows of one part, and what the student's frozen trunk gives of them."""
    spec = config.input_spec
    rows = [row for row in manifest.split_rows(trial.test_fold)[part] if row.video and task.name in row.labels]
    short = read_short_clips(manifest, rows, spec, settings.place_s)
    usable = [row for row in rows if row.id in short]
    positives = [row for row in usable if row.labels[task.name] == task.labels[1]]
    negatives = [row for row in usable if row.labels[task.name] == task.labels[0]]
    clips = compose(positives, negatives, settings)
    identity = clip_identity(student, config)
    return clips, kept_features(clips, spec, short, student.vision_encoder.trunk, identity, cache)


@torch.no_grad()
def judge(
    student: MomentXVLM,
    clips: Sequence[LongClip],
    features_NKF: NDArray[np.float16],
    task: TaskSpec,
    settings: LongClipSettings,
    config: RunConfig,
) -> Judged:
    """What the student says of composed clips: a task of clips alone has the sum of its moments' shares as logit."""
    shares_NKO = student.eval().evidence(torch.from_numpy(features_NKF).float())[task.name].numpy()
    scores_NK = np.stack([moment_scores(shares_KO, task, 1.0) for shares_KO in shares_NKO])
    near_NK = np.stack([_near(clip, config, settings) for clip in clips])
    strongest_N1 = scores_NK.argmax(axis=1)[:, None]
    pointed_N = np.take_along_axis(near_NK, strongest_N1, axis=1)[:, 0]
    return Judged(clips, scores_NK.sum(axis=1), pointed_N, near_NK.mean(axis=1))


def _near(clip: LongClip, config: RunConfig, settings: LongClipSettings) -> NDArray[np.bool_]:
    times_K = moment_times_s(clip, config.input_spec)
    start, end = clip.place_s
    return (times_K >= start - settings.slack_s) & (times_K <= end + settings.slack_s)


def summary(trials: Sequence[Judged], *, replicates: int, seed: int = 0) -> dict[str, Any]:
    """Means over trials, each with a 95 % interval: groups are drawn, of the clips at the places in question.

    What else the composed clips show is taken as given, so intervals hold none of its spread.
    """
    rows = [[_row(clip) for clip in one.clips] for one in trials]
    strata = [tuple(row.id for row in some) for some in rows]
    draws = draw("long clips", [row for some in rows for row in some], strata, replicates, seed)
    values: dict[str, list[Array]] = {"roc_auc": [], "pr_auc": [], "pointed_at": []}
    for one, some in zip(trials, rows, strict=True):
        positive = np.asarray([clip.positive for clip in one.clips])
        weights_RN = np.concatenate([np.ones((1, len(some))), draws.of_rows(some)])
        measured = evaluate(Scored(one.scores_N, one.scores_N > 0, positive), weights_RN)
        values["roc_auc"].append(measured["roc_auc"])
        values["pr_auc"].append(measured["pr_auc"])
        weights_RP = weights_RN[:, positive]
        with np.errstate(invalid="ignore"):
            values["pointed_at"].append(weights_RP @ one.pointed_N[positive] / weights_RP.sum(axis=1))
    chance = [float(one.chance_N[[clip.positive for clip in one.clips]].mean()) for one in trials]
    document: dict[str, Any] = {
        "clips": sum(len(one.clips) for one in trials),
        "groups": len(draws.groups),
        "pointed_at_by_chance": number(float(np.mean(chance))),
    }
    for name, by_trial in values.items():
        over_R = mean_over_trials(np.stack(by_trial), draws.trials_TR)
        trial_values = [number(value[0]) for value in by_trial]
        document[name] = {"value": number(over_R[0]), "interval": interval(over_R[1:]), "trials": trial_values}
    return document


def _row(clip: LongClip) -> Row:
    return Row(id=clip.id, group=clip.group, split="test")
