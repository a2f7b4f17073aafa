"""Batches: every row once, pairs that know no label, targets and privileged features that follow their rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from contract.text import TextTokenizer
from tests.unit.training.conftest import Toy
from training.config import OptimiserConfig
from training.data.loading.epoch_batches import batches_in_epoch, evaluation_batches, plan_epoch, training_batches
from training.data.loading.row_set import Pick, RowSet, row_set, with_privileged, with_soft_targets
from training.data.privileged import PrivilegedStatistics

OPTIONS = OptimiserConfig(video_batch=8, text_batch=16, pair_probability=0.5)


def test_an_epoch_is_a_function_of_seed_and_epoch(toy: Toy) -> None:
    rows = toy.parts["train"]

    def ids(seed: int, epoch: int) -> list[list[int]]:
        return [b.inputs["input_ids"].sum(dim=1).tolist() for b in training_batches(rows, OPTIONS, seed, epoch)]

    assert ids(0, 0) == ids(0, 0)
    assert ids(0, 0) != ids(0, 1)
    assert ids(0, 0) != ids(1, 0)
    assert len(ids(0, 0)) == batches_in_epoch(rows, OPTIONS)


def test_evaluation_sees_every_row_once_and_unchanged(toy: Toy) -> None:
    rows = toy.parts["val"]
    seen = np.concatenate([positions for positions, _ in evaluation_batches(rows, 5)])
    assert sorted(seen) == list(range(len(rows.rows)))
    for positions, batch in evaluation_batches(rows, 5):
        for place, i in enumerate(positions):
            row = rows.rows[i]
            assert bool(batch.inputs["video_present"][place]) == (row.video is not None)
            if row.video is not None:
                assert np.array_equal(batch.inputs["frames"][place].numpy(), rows.cache.frames(row))


def test_a_borrowed_text_brings_its_labels_targets_and_features(toy: Toy) -> None:
    rows = toy.parts["train"]
    statistics = PrivilegedStatistics.fit(rows.rows, toy.manifest.privileged_groups)
    soft = {
        t.name: np.arange(len(rows.rows), dtype=np.float32)[:, None].repeat(t.logits_width, 1)
        for t in toy.manifest.tasks
    }
    rows = with_soft_targets(with_privileged(rows, statistics), soft)
    texts = rows.targets["topics"].labelled & ~rows.has_video
    clip = next(i for i, row in enumerate(rows.rows) if row.video and "topics" not in row.labels)
    partner = int(np.flatnonzero(texts)[0])
    batch = rows.build([(clip, partner)])
    topics, shape = batch.tasks["topics"], batch.tasks["shape"]
    assert topics.positions_N.tolist() == [0]
    assert torch.equal(topics.targets[0], torch.from_numpy(rows.targets["topics"].values[partner]))
    assert topics.teacher_NK is not None
    assert topics.teacher_NK[0, 0] == partner
    if shape.positions_N.numel():
        assert shape.teacher_NK is not None
        assert shape.teacher_NK[0, 0] == clip
    assert batch.inputs["video_present"].item()
    assert batch.inputs["text_present"].item()
    track_row = clip if rows.privileged["track"][1][clip].any() else partner
    assert np.array_equal(batch.privileged["track"][0][0].numpy(), rows.privileged["track"][0][track_row])


def test_no_pairs_where_none_are_asked_for(toy: Toy) -> None:
    rows = toy.parts["train"]
    alone = OPTIONS.model_copy(update={"pair_probability": 0.0})
    own = sum(1 for row, text in zip(rows.rows, rows.texts, strict=True) if row.video and text.present)
    found = 0
    for batch in training_batches(rows, alone, 0, 0):
        found += int((batch.inputs["video_present"] & batch.inputs["text_present"]).sum())
    assert found == own


def planned(rows: RowSet, epochs: int, **changed: float) -> list[list[list[Pick]]]:
    """Epoch -> batch -> picks."""
    options = OPTIONS.model_copy(update=changed)
    return [[batch.picks for batch in plan_epoch(rows, options, 0, epoch)] for epoch in range(epochs)]


def test_clips_and_texts_come_in_any_order(toy: Toy) -> None:
    rows = toy.parts["train"]
    first, last = set(), set()
    for batches in planned(rows, 20, video_batch=4, text_batch=4):
        held = [bool(rows.has_video[batch[0][0]]) for batch in batches]
        first.add(held[0])
        last.add(held[-1])
        assert sorted(index for batch in batches for index, _ in batch) == list(range(len(rows.rows)))
    assert first == last == {True, False}


def test_a_clip_borrows_of_rows_without_a_clip_and_only_if_it_has_no_text_of_its_own(toy: Toy) -> None:
    train = toy.parts["train"]
    assert (train.has_video & train.has_text).any(), "the rule needs a clip with a text"
    assert (train.has_video & ~train.has_text).any()
    picks = [pick for batches in planned(train, 20, pair_probability=1.0) for batch in batches for pick in batch]
    for index, partner in picks:
        lacks = train.has_video[index] and not train.has_text[index]
        assert (partner is not None) == lacks
        assert partner is None or (train.has_text[partner] and not train.has_video[partner])


def test_rows_whose_clip_failed_are_left_out(toy: Toy) -> None:
    from dataclasses import replace

    from training.data.loading.row_set import row_set

    part = toy.parts["train"]
    lost = next(row for row in part.rows if row.video)
    cache = replace(part.cache, failed={lost.id: "corrupt_video"})
    kept = row_set(part.rows, toy.manifest.tasks, part.spec, part.tokenizer, cache)
    assert lost.id not in {row.id for row in kept.rows}
    assert len(kept.rows) == len(part.rows) - 1


def test_a_label_outside_the_set_is_named(toy: Toy) -> None:
    from training.data.targets import task_targets

    row = next(r for r in toy.parts["train"].rows if "shape" in r.labels)
    wrong = row.model_copy(update={"labels": {"shape": "hexagon"}})
    with pytest.raises(ValueError, match="hexagon"):
        task_targets([wrong], toy.manifest.task("shape"))


def test_a_text_field_that_the_spec_lacks_is_left_unread(toy: Toy) -> None:
    train = toy.parts["train"]
    spec = train.spec.model_copy(update={"text_fields": train.spec.text_fields[:1]})
    tokenizer = TextTokenizer(toy.tokenizer_path, spec)
    both = [row for row in train.rows if "overlay_text" in row.texts]
    assert both
    found = row_set(both, toy.manifest.tasks, spec, tokenizer, train.cache)
    for row, text in zip(both, found.texts, strict=True):
        assert text.input_ids.tolist() == tokenizer.encode({"title": row.texts["title"]}).input_ids.tolist()
