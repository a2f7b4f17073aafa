"""Training: what is killed and resumed equals what ran through; what was made of other inputs is refused."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import training.fitting.fit as fit_module
import training.fitting.loop as loop_module
from tests.unit.training.conftest import Toy
from training.atomic_write import write_json
from training.config import RunConfig
from training.data.loading.epoch_batches import batches_in_epoch
from training.data.loading.row_set import with_soft_targets
from training.data.privileged import PrivilegedStatistics
from training.fitting.checkpoint import CARD_FILE, CheckpointError, read_checkpoint, save_tensors
from training.fitting.fit import fit
from training.teachers.cross_fitting import rows_at
from training.teachers.soft_targets import SoftTargetsError, read_soft_targets, write_soft_targets


class Killed(Exception):
    """Stands for a kill at an arbitrary moment."""


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return dict(read_checkpoint(directory)[0].state_dict())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_killed_and_resumed_equals_uninterrupted(
    toy: Toy, tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(tmp_path / "whole", toy.data, tiny_config, method="ce", seed=5)
    real, calls = loop_module.train_step, []
    steps = batches_in_epoch(toy.data.train, tiny_config.optimiser)

    def dies_in_the_second_epoch(*args: object) -> float:
        calls.append(1)
        if len(calls) == steps + 1:
            raise Killed
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(loop_module, "train_step", dies_in_the_second_epoch)
    with pytest.raises(Killed):
        fit(tmp_path / "killed", toy.data, tiny_config, method="ce", seed=5)
    torch.rand(17)  # a resumed process does not find the generator where the killed one left it
    monkeypatch.setattr(loop_module, "train_step", real)
    resumed = fit(tmp_path / "killed", toy.data, tiny_config, method="ce", seed=5)
    assert resumed.losses == whole.losses
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


def test_a_seed_decides_the_weights(toy: Toy, tiny_config: RunConfig, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fit(tmp_path / name, toy.data, tiny_config, method="ce", seed=seed)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_a_checkpoint_of_other_inputs_is_not_taken_for_this_one(
    toy: Toy, tiny_config: RunConfig, tmp_path: Path
) -> None:
    fit(tmp_path / "a", toy.data, tiny_config, method="ce", seed=1)
    with pytest.raises(ValueError, match="another seed"):
        fit(tmp_path / "a", toy.data, tiny_config, method="ce", seed=2)


def test_a_checkpoint_of_other_rows_is_not_taken_for_this_one(toy: Toy, tiny_config: RunConfig, tmp_path: Path) -> None:
    """Of one manifest, rows whose clips could not be decoded are left out: when they can be, it is other training."""
    config = tiny_config.model_copy(update={"optimiser": tiny_config.optimiser.model_copy(update={"epochs": 1})})
    fewer = replace(toy.data, train=rows_at(toy.data.train, np.arange(20)))
    card = fit(tmp_path / "a", fewer, config, method="ce", seed=1)
    with pytest.raises(ValueError, match="another rows_digest"):
        fit(tmp_path / "a", toy.data, config, method="ce", seed=1)
    older = card.model_copy(update={"rows_digest": None})
    assert "rows_digest" not in older.model_dump()
    write_json(tmp_path / "a" / CARD_FILE, older.model_dump(mode="json"))
    assert fit(tmp_path / "a", toy.data, config, method="ce", seed=1) == older


def test_divergence_is_an_error(toy: Toy, tiny_config: RunConfig, tmp_path: Path) -> None:
    wild = tiny_config.model_copy(update={"optimiser": tiny_config.optimiser.model_copy(update={"lr": 1e30})})
    with pytest.raises(FloatingPointError, match="learning rate"):
        fit(tmp_path / "a", toy.data, wild, method="ce", seed=1)


def test_soft_targets_of_another_teacher_are_refused(toy: Toy, tiny_config: RunConfig, tmp_path: Path) -> None:
    statistics = PrivilegedStatistics.fit(toy.parts["train"].rows, toy.manifest.privileged_groups)
    one, other = (
        fit(tmp_path / name, toy.data, tiny_config, method="ce", seed=seed, statistics=statistics)
        for name, seed in (("t1", 1), ("t2", 2))
    )
    train = toy.parts["train"]
    path = write_soft_targets(tmp_path / "soft", tmp_path / "t1", train)
    soft = read_soft_targets(path, one, train)
    assert {name: value.shape[0] for name, value in soft.items()} == {
        t.name: len(train.rows) for t in toy.manifest.tasks
    }
    with pytest.raises(SoftTargetsError, match="another teacher"):
        read_soft_targets(path, other, train)
    student = fit(
        tmp_path / "s",
        fit_module.FitData(**(vars(toy.data) | {"train": with_soft_targets(train, soft)})),
        tiny_config,
        method="cpfd",
        seed=1,
        teacher=one,
    )
    assert student.teacher_digest == one.digest()
    fit(tmp_path / "ce", toy.data, tiny_config, method="ce", seed=1)
    with pytest.raises(SoftTargetsError, match="not a teacher"):
        write_soft_targets(tmp_path / "soft2", tmp_path / "ce", train)


def test_weights_that_do_not_fit_the_disk_are_one_clear_line_and_leave_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"weights\.pt: .*disk full"):
            save_tensors(tmp_path / "weights.pt", {"weight": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
