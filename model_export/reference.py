"""Scores of held-out rows under a bundle's policy: what it gave before it served, for drift to be measured against.

The bundle's own model scores them, the way of a request: the contract's decoding, tokenisation, decision and its rule
of which tasks count. For a model that has seen every fold the students of its recipe do, by what they said in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from contract.bundle import Bundle
from contract.decision import TaskDecision, decide
from contract.reference import ScoreReference, count_scores
from contract.video import DecodeLimits
from model_export.decide_rows import decide_rows, modalities_of, readable_rows
from model_export.errors import ExportError
from training.data.frames.frame_cache import FrameCache
from training.data.manifest import Manifest, Row, Split
from training.experiment.plan import read_plan
from training.experiment.predictions import PREDICTIONS_FILE, require_stored
from training.fitting.checkpoint import CheckpointCard, read_card


@dataclass(frozen=True)
class HeldOut:
    """Which rows are scored, and how.

    Attributes:
        split: of the manifest.
        test_fold: the fold that the model was tested on; None where the manifest has no folds.
        workers: decoding processes.
        progress: show bars where stderr is a terminal.
    """

    split: Split = "val"
    test_fold: int | None = None
    workers: int = 1
    progress: bool = field(default=True, kw_only=True)


def measure_reference(bundle: Bundle, manifest: Manifest, cache: Path, held_out: HeldOut) -> ScoreReference:
    """The distribution of the bundle's flag scores over a split of ``manifest``.

    Args:
        bundle: whose model is run.
        manifest: rows; they need no labels.
        cache: where decoded frames are kept.
        held_out: which of the rows.

    Raises:
        ExportError: no row of the split can be scored.
        ValueError: ``test_fold`` does not fit the manifest.
    """
    rows = manifest.split_rows(held_out.test_fold)[held_out.split]
    spec = bundle.manifest.input_spec
    frames = FrameCache.build(
        rows,
        manifest.video_path,
        spec,
        DecodeLimits(),
        cache,
        workers=held_out.workers,
        progress=held_out.progress,
    )
    readable = readable_rows(rows, bundle, frames)
    scores = _scores(readable, bundle, frames, progress=held_out.progress)
    if not any(scores.values()):
        raise ExportError(f"the manifest's {held_out.split} split holds no row that the bundle's tasks can be asked of")
    return ScoreReference(
        model_digest=bundle.manifest.model_digest,
        policy_digest=bundle.manifest.policy.digest(),
        manifest_digest=manifest.digest(),
        split=held_out.split,
        test_fold=held_out.test_fold,
        rows=len(readable),
        failed=len(frames.failed),
        tasks={name: count_scores(flag_scores) for name, flag_scores in scores.items() if flag_scores},
    )


def require_reference(checkpoint: Path, manifest: Manifest) -> None:
    """Raises where ``reference_of`` would find nothing to read, before a bundle is replaced.

    Raises:
        ExportError: the folder of a final checkpoint does not lie in its experiment's.
    """
    card = read_card(checkpoint)
    if not _is_final(card, manifest):
        return
    runs = _runs_of(checkpoint)
    try:
        plan = read_plan(runs, manifest)
        for trial in plan.trials:
            require_stored(runs / trial.name / card.method / PREDICTIONS_FILE)
    except (FileNotFoundError, ValueError) as error:
        raise ExportError(
            f"{checkpoint}: has seen every fold, so that its reference is made of what the trials' students said, and "
            f"their folders are not beside the one that holds it: {error}"
        ) from error


def _is_final(card: CheckpointCard, manifest: Manifest) -> bool:
    return bool(manifest.folds) and card.test_fold is None


def _runs_of(checkpoint: Path) -> Path:
    return checkpoint.resolve().parent.parent


def reference_of(bundle: Bundle, checkpoint: Path, manifest: Manifest, cache: Path, workers: int) -> ScoreReference:
    """The distribution over rows of its manifest that a checkpoint has not seen.

    Its validation rows; of a refit, which was trained on those of the folds, its test rows; of a final one the test
    rows of all trials, as the students of the trials scored them.

    Args:
        bundle: of the checkpoint.
        checkpoint: its folder; of a final one the trials' lie beside the folder that holds it.
        manifest: that it was trained on.
        cache: where decoded frames are kept.
        workers: decoding processes.

    Raises:
        ExportError, FileNotFoundError, PredictionsError: as the two below.
    """
    card = read_card(checkpoint)
    if _is_final(card, manifest):
        return reference_of_folds(bundle, manifest, _runs_of(checkpoint), card.method)
    refitted = card.selection_digest is not None and card.test_fold is not None
    split: Split = "test" if refitted else "val"
    return measure_reference(bundle, manifest, cache, HeldOut(split, card.test_fold, workers))


def reference_of_folds(bundle: Bundle, manifest: Manifest, runs: Path, method: str) -> ScoreReference:
    """The distribution for a model trained on every fold: of each test row, what a student said that had not seen it.

    Args:
        bundle: of the final checkpoint; its policy calibrates the students' logits.
        manifest: of the experiment.
        runs: the experiment's folder, its trials finished.
        method: the students'.

    Raises:
        FileNotFoundError: a trial has no predictions.
        PredictionsError: they are of another checkpoint.
    """
    plan, rows = read_plan(runs, manifest), {row.id: row for row in manifest.rows}
    tasks, policy = bundle.manifest.tasks, bundle.manifest.policy
    scored = dict[str, dict[str, TaskDecision]]()
    expected = set[str]()
    for trial in plan.trials:
        path = runs / trial.name / method / PREDICTIONS_FILE
        require_stored(path)
        expected |= {row.id for row in manifest.split_rows(trial.test_fold)["test"] if modalities_of(row, bundle)}
        with np.load(path, allow_pickle=False) as arrays:
            logits = {task.name: arrays[task.output_name] for task in tasks}
            ids = arrays["row_ids"].tolist()
        for i, row_id in enumerate(ids):
            if row_id not in scored and (held := modalities_of(rows[row_id], bundle)):
                own = {name: values[i] for name, values in logits.items()}
                scored[row_id] = decide(own, tasks, policy, held)
    counted = {
        task.name: [one[task.name].flag_score for one in scored.values() if one[task.name].supported] for task in tasks
    }
    return ScoreReference(
        model_digest=bundle.manifest.model_digest,
        policy_digest=policy.digest(),
        manifest_digest=manifest.digest(),
        split="out_of_fold",
        rows=len(scored),
        failed=len(expected - set(scored)),
        tasks={name: count_scores(flag_scores) for name, flag_scores in counted.items() if flag_scores},
    )


def _scores(rows: Sequence[Row], bundle: Bundle, frames: FrameCache, *, progress: bool) -> dict[str, list[float]]:
    """Task -> the flag scores of the rows that support it."""
    manifest = bundle.manifest
    flag_scores: dict[str, list[float]] = {task.name: [] for task in manifest.tasks}
    for _, decisions in decide_rows(rows, bundle, frames, manifest.policy, progress=progress):
        for name, decision in decisions.items():
            if decision.supported:
                flag_scores[name].append(decision.flag_score)
    return flag_scores
