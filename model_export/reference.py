"""Scores of a bundle's own model on held-out rows: what it gave before it served, for drift to be measured against.

The rows go the way of a request: the contract's decoding, tokenisation, decision and its rule of which tasks count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contract.bundle import Bundle
from contract.reference import ScoreReference, count_scores
from contract.video import DecodeLimits
from model_export.decide_rows import decide_rows, readable_rows
from model_export.errors import ExportError
from training.data.frames.frame_cache import FrameCache
from training.data.manifest import Manifest, Row, Split


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


def _scores(rows: Sequence[Row], bundle: Bundle, frames: FrameCache, *, progress: bool) -> dict[str, list[float]]:
    """Task -> the flag scores of the rows that support it."""
    manifest = bundle.manifest
    flag_scores: dict[str, list[float]] = {task.name: [] for task in manifest.tasks}
    for _, decisions in decide_rows(rows, bundle, frames, manifest.policy, progress=progress):
        for name, decision in decisions.items():
            if decision.supported:
                flag_scores[name].append(decision.flag_score)
    return flag_scores
