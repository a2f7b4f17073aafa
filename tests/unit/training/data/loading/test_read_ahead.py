"""Batches read by workers: the same batches, the same random numbers, faults that name the row, no orphans."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from tests.unit.training.conftest import Toy
from training.config import OptimiserConfig
from training.data.augmentation import apply_change, draw_change
from training.data.loading import read_ahead
from training.data.loading.batch_inputs import RowError
from training.data.loading.epoch_batches import _plan, evaluation_batches, training_batches
from training.data.loading.read_ahead import WorkerDied
from training.data.loading.row_set import Batch

OPTIONS = OptimiserConfig(video_batch=4, text_batch=8, video_repeat=2, pair_probability=0.5)


@dataclass(frozen=True)
class Faulty:
    """A store that cannot read one row: it raises, or ends its process."""

    inner: Any
    row_id: str
    deadly: bool = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def frames(self, row: Any) -> Any:
        if row.id == self.row_id:
            if self.deadly:
                os._exit(9)
            raise OSError("the disk is on fire")
        return self.inner.frames(row)


def assert_same(left: list[Batch], right: list[Batch]) -> None:
    assert len(left) == len(right) > 0
    for a, b in zip(left, right, strict=True):
        assert a.inputs.keys() == b.inputs.keys()
        assert all(torch.equal(a.inputs[name], b.inputs[name]) for name in a.inputs)
        assert a.tasks.keys() == b.tasks.keys()
        for name, rows in a.tasks.items():
            assert torch.equal(rows.positions_N, b.tasks[name].positions_N)
            assert torch.equal(rows.targets, b.tasks[name].targets)


def test_an_epoch_draws_from_one_generator_in_order(toy: Toy) -> None:
    """Each clip is changed by the next numbers of the generator that made the plan, batch after batch."""
    rows = toy.parts["train"]
    rng = np.random.default_rng([5, 1])
    for picks, batch in zip(_plan(rows, OPTIONS, rng), training_batches(rows, OPTIONS, 5, 1), strict=True):
        for place, (index, _) in enumerate(picks):
            if rows.rows[index].video is not None:
                frames = rows.cache.frames(rows.rows[index])
                wanted = apply_change(frames, draw_change(rows.spec.frame_size, rng))
                assert np.array_equal(batch.inputs["frames"][place].numpy(), wanted)


def test_workers_give_the_same_batches_and_leave_the_global_generator_alone(toy: Toy) -> None:
    rows = toy.parts["train"]
    alone = list(training_batches(rows, OPTIONS, 3, 0))
    before = torch.get_rng_state()
    assert_same(alone, list(training_batches(rows, OPTIONS, 3, 0, workers=2)))
    assert torch.equal(before, torch.get_rng_state())
    asked_by_the_rows = list(training_batches(replace(rows, workers=1), OPTIONS, 3, 0, start=len(alone) - 2))
    assert_same(alone[-2:], asked_by_the_rows)
    for (places, one), (others, other) in zip(
        evaluation_batches(rows, 5), evaluation_batches(rows, 5, workers=2), strict=True
    ):
        assert np.array_equal(places, others)
        assert_same([one], [other])


@pytest.mark.parametrize("start", [0, 1, 4])
def test_a_start_gives_the_tail(toy: Toy, start: int) -> None:
    rows = toy.parts["train"]
    whole = list(training_batches(rows, OPTIONS, 0, 2))
    assert_same(whole[start:], list(training_batches(rows, OPTIONS, 0, 2, start=start)))


@pytest.mark.parametrize("wrong", [{"start": -1}, {"workers": -1}])
def test_what_makes_no_sense_is_refused(toy: Toy, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        training_batches(toy.parts["train"], OPTIONS, 0, 0, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_names_the_row(toy: Toy, workers: int) -> None:
    rows = toy.parts["train"]
    lost = next(row.id for row in rows.rows if row.video)
    broken = replace(rows, cache=Faulty(rows.cache, lost))
    with pytest.raises(RowError, match=f"^row {lost}: .*OSError: the disk is on fire$"):
        list(training_batches(broken, OPTIONS, 0, 0, workers=workers))


def test_a_killed_worker_is_reported_with_the_rows_under_way(toy: Toy) -> None:
    rows = toy.parts["train"]
    lost = next(row.id for row in rows.rows if row.video)
    deadly = replace(rows, cache=Faulty(rows.cache, lost, deadly=True))
    with pytest.raises(WorkerDied, match="rows under way: "):
        list(training_batches(deadly, OPTIONS, 0, 0, workers=1))


@pytest.mark.parametrize("error", [ConnectionResetError("reset by peer"), FileNotFoundError("socket"), EOFError()])
def test_a_worker_lost_while_it_hands_over_a_batch_is_reported_alike(
    toy: Toy, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch made before the death is fetched over a socket of the dead process."""

    def lost(reader: Any, plans: Any, workers: int) -> Any:
        next(plans)
        raise error
        yield

    monkeypatch.setattr(read_ahead, "_loader", lost)
    with pytest.raises(WorkerDied, match=f"failed: {str(error) or type(error).__name__}; rows under way: ."):
        list(training_batches(toy.parts["train"], OPTIONS, 0, 0, workers=1))


_PARENT = """
import multiprocessing, os, sys, time
from training.child_process import end_with_parent
from training.data.loading.read_ahead import _context

def work(path):
    end_with_parent()
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    _context().Process(target=work, args=(sys.argv[1],), daemon=True).start()
    time.sleep(60)
"""


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(_PARENT)
    written = tmp_path / "pid"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[5])}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py"), str(written)], env=environment)
    try:
        _until(lambda: written.exists() and written.read_text() != "")
        worker = psutil.Process(int(written.read_text()))
        assert worker.is_running()
    finally:
        parent.kill()
        parent.wait()
    _until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def _until(holds: Any) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
