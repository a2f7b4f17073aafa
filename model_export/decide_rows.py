"""Rows of a manifest, decided by a bundle as a service decides requests: the contract's decoding, tokens and rules."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from contract.bundle import Bundle
from contract.decision import DecisionPolicy, Modality, TaskDecision, decide
from contract.example import ModelInputs, collate
from model_export.sessions import graphs_of
from training.data.frames.frame_cache import FrameCache
from training.data.manifest import Row

BATCH = 16
_VIDEO, _TEXT = frozenset({Modality.VIDEO}), frozenset({Modality.TEXT})


def readable_rows(rows: Sequence[Row], bundle: Bundle, frames: FrameCache) -> list[Row]:
    """Those that a service would take: not a broken clip, nor an empty text without one."""
    return [row for row in rows if row.id not in frames.failed and _is_input(row, bundle)]


def decide_rows(
    rows: Sequence[Row], bundle: Bundle, frames: FrameCache, policy: DecisionPolicy, *, progress: bool
) -> Iterator[tuple[Row, dict[str, TaskDecision]]]:
    """Each row with every task's decision under ``policy``."""
    tasks = bundle.manifest.tasks
    graphs = graphs_of(bundle)
    shown = progress and sys.stderr.isatty()
    for batch in tqdm(list(_batches(rows)), desc="scoring", unit="batch", disable=not shown):
        examples = [_inputs(row, bundle, frames) for row in batch]
        logits = graphs.run(collate(examples, bundle.tokenizer.pad_id))
        for i, (row, example) in enumerate(zip(batch, examples, strict=True)):
            own = {name: values[i] for name, values in logits.items()}
            yield row, decide(own, tasks, policy, _modalities(example.video_present, example.text.present))


def modalities_of(row: Row, bundle: Bundle) -> frozenset[Modality]:
    """What a service would read of the row."""
    return _modalities(row.video is not None, bundle.tokenizer.encode(_read_texts(row, bundle)).present)


def _modalities(video: bool, text: bool) -> frozenset[Modality]:
    return (_VIDEO if video else frozenset()) | (_TEXT if text else frozenset())


def _is_input(row: Row, bundle: Bundle) -> bool:
    return bool(modalities_of(row, bundle))


def _read_texts(row: Row, bundle: Bundle) -> dict[str, str]:
    """The row's texts of fields that the bundle reads; others are left unread, as the service leaves them."""
    known = {field.name for field in bundle.manifest.input_spec.text_fields}
    return {name: text for name, text in row.texts.items() if name in known}


def _batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    for start in range(0, len(rows), BATCH):
        yield list(rows[start : start + BATCH])


def _inputs(row: Row, bundle: Bundle, frames: FrameCache) -> ModelInputs:
    text = bundle.tokenizer.encode(_read_texts(row, bundle))
    if row.video is None:
        return ModelInputs(np.zeros(bundle.manifest.input_spec.frames_shape, np.uint8), (), text, video_present=False)
    return ModelInputs(frames.frames(row), (), text, video_present=True)
