"""Pairs of unrelated rows: drawn without labels, each row scored once, under the logits of its own pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.unit.training.conftest import Toy
from training.config import RunConfig
from training.experiment.paired_predictions import draw_pairs, read_paired, write_paired_predictions
from training.fitting.checkpoint import read_checkpoint
from training.fitting.fit import fit


def test_every_lonely_clip_meets_a_lonely_text(toy: Toy) -> None:
    rows = toy.parts["test"]
    pairs = draw_pairs(rows)
    clips, texts = {clip for clip, _ in pairs}, {text for _, text in pairs}
    assert clips == set(np.flatnonzero(rows.has_video & ~rows.has_text))
    assert texts == set(np.flatnonzero(rows.has_text & ~rows.has_video))
    assert pairs == draw_pairs(rows)
    assert pairs != draw_pairs(rows, seed=1)


def test_each_labelled_row_is_read_once_with_the_logits_of_its_pair(
    toy: Toy, tiny_config: RunConfig, tmp_path: Path
) -> None:
    fit(tmp_path, toy.data, tiny_config, method="ce", seed=0)
    rows = toy.parts["test"]
    write_paired_predictions(tmp_path, rows)
    task = toy.manifest.task("topics")
    labelled = {row.id for row in rows.rows if task.name in row.labels}
    found = read_paired(tmp_path, task.output_name, labelled)
    assert found is not None
    ids, logits = found
    assert len(set(ids)) == len(ids)
    assert set(ids) <= labelled
    position = {row.id: i for i, row in enumerate(rows.rows)}
    pair = next(p for p in draw_pairs(rows) if p[1] == position[ids[0]])
    model, _ = read_checkpoint(tmp_path)
    with torch.no_grad():
        expected = model(**rows.build([pair]).inputs)[task.name]
    assert np.allclose(logits[0], expected[0].numpy(), atol=1e-5)


def test_nothing_is_read_where_nothing_was_stored(tmp_path: Path) -> None:
    assert read_paired(tmp_path, "logits_topics", {"a"}) is None
