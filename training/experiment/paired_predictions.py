"""Predictions for requests that hold both modalities, as served requests do.

No row in reach holds a clip, its own title and labels of both. So clips without text get the title of an unrelated
test row, and the pair is scored on the labels of both: a model whose answer about one modality is spoiled by the
other shows it here. The pairing is drawn without looking at a label.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.loading.row_set import Pick, RowSet
from training.experiment.predictions import is_stored, require_stored, store
from training.fitting.checkpoint import read_card, read_checkpoint
from training.fitting.predict import forward
from training.fitting.processes import world

PAIRED_FILE = "paired_predictions.npz"
MAX_TEXTS = 600
_BATCH = 32


def draw_pairs(rows: RowSet, seed: int = 0) -> list[Pick]:
    """(clip, text) positions: every clip without text, up to 600 texts; empty where there are no such rows."""
    rng = np.random.default_rng(seed)
    clips = np.flatnonzero(rows.has_video & ~rows.has_text)
    texts = np.flatnonzero(rows.has_text & ~rows.has_video)
    if not len(clips) or not len(texts):
        return []
    n = max(len(clips), min(len(texts), MAX_TEXTS))
    left, right = np.resize(rng.permutation(clips), n), np.resize(rng.permutation(texts), n)
    return [(int(clip), int(text)) for clip, text in zip(left, right, strict=True)]


@torch.no_grad()
def write_paired_predictions(directory: Path, test: RowSet) -> None:
    """Stores the checkpoint's logits (N, K) of the drawn pairs, task by task, beside it."""
    path = directory / PAIRED_FILE
    pairs = draw_pairs(test)
    if not pairs or is_stored(path, read_card(directory)):
        return
    model, card = read_checkpoint(directory)
    model.to(world().device)
    chunks = [pairs[i : i + _BATCH] for i in range(0, len(pairs), _BATCH)]
    outputs = [forward(model, test.build(chunk)) for chunk in chunks]
    logits: dict[str, Any] = {t.name: torch.cat([part[t.name] for part in outputs]).cpu().numpy() for t in card.tasks}
    arrays = {
        "clip_ids": np.asarray([test.rows[clip].id for clip, _ in pairs]),
        "text_ids": np.asarray([test.rows[text].id for _, text in pairs if text is not None]),
    }
    store(path, card, arrays | {f"logits_{name}": values for name, values in logits.items()})


def read_paired(directory: Path, output_name: str, labelled: set[str]) -> tuple[list[str], NDArray[np.float32]] | None:
    """(row ids, logits (n, K)): each labelled row once, as half of the pair in which it first appears.

    Args:
        directory: of the checkpoint.
        output_name: ``logits_<task>``.
        labelled: ids of the rows that hold a label of the task.

    Returns:
        None where no pairs were stored or none holds a label.
    """
    path = directory / PAIRED_FILE
    if not path.exists():
        return None
    require_stored(path)
    with np.load(path, allow_pickle=False) as arrays:
        halves = zip(arrays["clip_ids"].tolist(), arrays["text_ids"].tolist(), strict=True)
        first: dict[str, int] = {}
        for position, pair in enumerate(halves):
            for row_id in pair:
                if row_id in labelled:
                    first.setdefault(row_id, position)
        if not first:
            return None
        return list(first), arrays[output_name][list(first.values())]
