"""Scores of a bundle's own model on held-out rows: what it gave before it served, for drift to be measured against.

The rows go the way of a request: the contract's decoding, tokenisation, decision and its rule of which tasks count.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from contract.bundle import Bundle
from contract.decision import Modality, decide
from contract.example import ModelInputs, collate
from contract.reference import ScoreReference, count_scores
from contract.video import DecodeLimits
from model_export.errors import ExportError
from model_export.sessions import graphs_of
from training.data.frames.frame_cache import FrameCache
from training.data.manifest import Manifest, Row, Split

BATCH = 16
_VIDEO, _TEXT = frozenset({Modality.VIDEO}), frozenset({Modality.TEXT})


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
    readable = [row for row in rows if row.id not in frames.failed and _is_input(row, bundle)]
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


def _is_input(row: Row, bundle: Bundle) -> bool:
    """Whether a service would take the row: an empty text and no clip are refused."""
    return row.video is not None or bundle.tokenizer.encode(_read_texts(row, bundle)).present


def _read_texts(row: Row, bundle: Bundle) -> dict[str, str]:
    """The row's texts of fields that the bundle reads; others are left unread, as the service leaves them."""
    known = {field.name for field in bundle.manifest.input_spec.text_fields}
    return {name: text for name, text in row.texts.items() if name in known}


def _scores(rows: Sequence[Row], bundle: Bundle, frames: FrameCache, *, progress: bool) -> dict[str, list[float]]:
    """Task -> the flag scores of the rows that support it."""
    manifest = bundle.manifest
    graphs = graphs_of(bundle)
    flag_scores: dict[str, list[float]] = {task.name: [] for task in manifest.tasks}
    shown = progress and sys.stderr.isatty()
    for batch in tqdm(list(_batches(rows)), desc="scoring", unit="batch", disable=not shown):
        examples = [_inputs(row, bundle, frames) for row in batch]
        logits = graphs.run(collate(examples, bundle.tokenizer.pad_id))
        for i, example in enumerate(examples):
            own = {name: values[i] for name, values in logits.items()}
            modalities = (_VIDEO if example.video_present else frozenset()) | (
                _TEXT if example.text.present else frozenset()
            )
            for name, decision in decide(own, manifest.tasks, manifest.policy, modalities).items():
                if decision.supported:
                    flag_scores[name].append(decision.flag_score)
    return flag_scores


def _batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    for start in range(0, len(rows), BATCH):
        yield list(rows[start : start + BATCH])


def _inputs(row: Row, bundle: Bundle, frames: FrameCache) -> ModelInputs:
    text = bundle.tokenizer.encode(_read_texts(row, bundle))
    if row.video is None:
        return ModelInputs(np.zeros(bundle.manifest.input_spec.frames_shape, np.uint8), (), text, video_present=False)
    return ModelInputs(frames.frames(row), (), text, video_present=True)
