"""Stored soft targets: made once, of one teacher, and handed out row by row whatever order is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.training.conftest import Toy
from training.config import RunConfig
from training.data.privileged import PrivilegedStatistics
from training.distillation.confidence import teacher_confidence
from training.evaluation.calibration import fit_policy
from training.fitting.checkpoint import CheckpointCard, write_checkpoint
from training.fitting.predict import predict
from training.models.build import build_model
from training.teachers import soft_targets as module
from training.teachers.cross_fitting import rows_at
from training.teachers.soft_targets import SoftTargetsError, read_soft_targets, row_confidence, write_soft_targets


def checkpoint(toy: Toy, config: RunConfig, home: Path, seed: int, role: str = "plain_teacher") -> CheckpointCard:
    """A teacher that nobody trained, in ``home``."""
    torch.manual_seed(seed)
    model = build_model(config, toy.manifest.tasks, None)
    home.mkdir()
    train = toy.parts["train"]
    policy = fit_policy(predict(model, train, toy.manifest.tasks), list(train.targets.values()))
    fields: dict[str, Any] = {"role": role, "method": "ce", "config": config, "tasks": toy.manifest.tasks}
    fields |= {"policy": policy, "seed": seed, "test_fold": 0, "manifest_digest": toy.manifest.digest()}
    fields |= {"tokenizer_digest": "0" * 64, "train_rows": len(train.rows), "skipped_rows": 0, "losses": (1.0,)}
    return write_checkpoint(home, model, fields)


@pytest.fixture
def teacher(toy: Toy, tiny_config: RunConfig, tmp_path: Path) -> CheckpointCard:
    return checkpoint(toy, tiny_config, tmp_path / "teacher", seed=1)


def test_rows_get_their_own_logits_in_whatever_order_they_come(
    toy: Toy, teacher: CheckpointCard, tmp_path: Path
) -> None:
    train = toy.parts["train"]
    path = write_soft_targets(tmp_path, tmp_path / "teacher", train)
    stored = read_soft_targets(path, teacher, train)
    order = np.random.default_rng(0).permutation(len(train.rows))[: len(train.rows) // 2]
    turned = read_soft_targets(path, teacher, rows_at(train, order))
    assert set(stored) == {task.name for task in toy.manifest.tasks}
    for name, logits in stored.items():
        assert len(np.unique(logits, axis=0)) > 1, "rows that all have the same logits show nothing"
        np.testing.assert_array_equal(turned[name], logits[order])


def test_a_row_that_is_not_in_the_file_is_named(toy: Toy, teacher: CheckpointCard, tmp_path: Path) -> None:
    train = toy.parts["train"]
    path = write_soft_targets(tmp_path, tmp_path / "teacher", rows_at(train, np.arange(3)))
    with pytest.raises(SoftTargetsError, match=f"for {len(train.rows) - 3} rows, the first being {train.rows[3].id}$"):
        read_soft_targets(path, teacher, train)


def test_a_file_that_is_there_is_kept_only_if_it_is_of_this_teacher_and_these_rows(
    toy: Toy, teacher: CheckpointCard, tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = toy.parts["train"]
    checkpoint(toy, tiny_config, tmp_path / "other", seed=2)
    path = write_soft_targets(tmp_path, tmp_path / "teacher", train)
    before = path.stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(module, "predict", lambda *_: pytest.fail("made again"))
        assert write_soft_targets(tmp_path, tmp_path / "teacher", train) == path
    with pytest.raises(SoftTargetsError, match="of another teacher"):
        write_soft_targets(tmp_path, tmp_path / "other", train)
    more = replace(train, rows=[*train.rows, train.rows[0].model_copy(update={"id": "new"})])
    with pytest.raises(SoftTargetsError, match="the first being new"):
        write_soft_targets(tmp_path, tmp_path / "teacher", more)
    assert path.stat().st_mtime_ns == before


def test_a_student_gives_no_soft_targets(toy: Toy, tiny_config: RunConfig, tmp_path: Path) -> None:
    checkpoint(toy, tiny_config, tmp_path / "student", seed=1, role="student")
    with pytest.raises(SoftTargetsError, match="not a teacher"):
        write_soft_targets(tmp_path / "made", tmp_path / "student", toy.parts["train"])
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_confidence_is_read_at_the_teachers_own_temperature(toy: Toy, temperature: float) -> None:
    train = toy.parts["train"]
    rng = np.random.default_rng(0)
    logits = {
        t.name: rng.normal(0, 2, (len(train.rows), t.logits_width)).astype(np.float32) for t in toy.manifest.tasks
    }
    taught: Any = SimpleNamespace(temperatures=dict.fromkeys(logits, temperature))
    found = row_confidence(logits, train, taught, "true_prob")
    assert set(found) == {name for name, targets in train.targets.items() if targets.labelled.any()}
    for name, confidence in found.items():
        targets = train.targets[name]
        own = torch.from_numpy(logits[name][targets.labelled]) / temperature
        values = torch.from_numpy(targets.values[targets.labelled])
        assert torch.allclose(confidence, teacher_confidence("true_prob", own, values, targets.task.kind, 1.0))


def test_a_teachers_privileged_features_are_read_as_it_was_taught_them(
    toy: Toy, tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statistics = PrivilegedStatistics.fit(toy.parts["train"].rows, toy.manifest.privileged_groups)
    card = SimpleNamespace(
        privileged=statistics, role="teacher", tasks=toy.manifest.tasks, manifest_digest="m", digest=lambda: "d"
    )
    seen: list[set[str]] = []

    def spy(model: None, rows: Any, tasks: Any) -> dict[str, Any]:
        seen.append(set(rows.privileged))
        return {task.name: np.zeros((len(rows.rows), task.logits_width), np.float32) for task in tasks}

    monkeypatch.setattr(module, "read_checkpoint", lambda _: (None, card))
    monkeypatch.setattr(module, "predict", spy)
    write_soft_targets(tmp_path, tmp_path, toy.parts["train"])
    assert seen == [{group.name for group in toy.manifest.privileged_groups}]
