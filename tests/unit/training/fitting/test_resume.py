"""What is killed at any step and resumed equals, bit for bit, what ran through."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from pathlib import Path

import pytest
import torch

import training.fitting.loop as loop_module
from tests.unit.training.conftest import Toy
from tests.unit.training.fitting.killed_training import train_until_killed
from training.config import RunConfig
from training.fitting.checkpoint import CheckpointError, save_tensors
from training.fitting.fit import fit
from training.fitting.learning_curve import LearningCurve, read_curve
from training.fitting.operation import Operation
from training.fitting.resume import EXIT_ON_SIGTERM, STATE_FILE


def outcome(directory: Path) -> tuple[LearningCurve | None, dict[str, torch.Tensor]]:
    return read_curve(directory), torch.load(directory / "weights.pt", weights_only=True)


def assert_same(one: Path, other: Path) -> None:
    (curve, weights), (other_curve, other_weights) = outcome(one), outcome(other)
    assert curve is not None
    assert curve == other_curve
    assert all(torch.equal(tensor, other_weights[name]) for name, tensor in weights.items())
    assert not (other / STATE_FILE).exists()


@pytest.fixture(scope="module")
def whole(toy: Toy, tiny_config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that nothing stopped."""
    directory = tmp_path_factory.mktemp("whole")
    fit(directory, toy.data, tiny_config, method="ce", seed=5)
    return directory


@pytest.mark.slow
def test_sigkill_at_a_random_step(toy: Toy, tiny_config: RunConfig, whole: Path, tmp_path: Path) -> None:
    curve = read_curve(whole)
    assert curve is not None
    step = random.SystemRandom().randint(3, len(curve.steps.step))
    context = multiprocessing.get_context("spawn")
    killed = context.Process(
        target=train_until_killed, args=(tmp_path, toy, tiny_config, torch.get_num_threads(), step)
    )
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    saved = torch.load(tmp_path / STATE_FILE, weights_only=True)
    assert len(saved["curve"]["steps"]["step"]) == (step - 1) // 2 * 2, f"killed in step {step}"
    torch.rand(17)  # a resumed process does not find the generator where the killed one left it
    fit(tmp_path, toy.data, tiny_config, method="ce", seed=5)
    assert_same(whole, tmp_path)


@pytest.mark.parametrize("step", [2, 4, 8], ids=["within_an_epoch", "at_its_last_step", "at_the_very_last"])
def test_sigterm_saves_between_two_steps(
    toy: Toy, tiny_config: RunConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    real, done = loop_module.train_step, []

    def told_to_end(*args: object) -> float:
        done.append(1)
        if len(done) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args)  # type: ignore[arg-type]

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(loop_module, "train_step", told_to_end)
    with pytest.raises(SystemExit) as stopped:
        fit(tmp_path, toy.data, tiny_config, method="ce", seed=5)
    assert stopped.value.code == EXIT_ON_SIGTERM
    assert len(done) == step
    assert signal.getsignal(signal.SIGTERM) == before
    monkeypatch.setattr(loop_module, "train_step", real)
    fit(tmp_path, toy.data, tiny_config, method="ce", seed=5)
    assert_same(whole, tmp_path)


def test_a_state_of_other_inputs_or_of_an_earlier_version_is_refused(
    toy: Toy, tiny_config: RunConfig, tmp_path: Path
) -> None:
    save_tensors(tmp_path / STATE_FILE, {"model": {}, "losses": [0.5]})
    with pytest.raises(CheckpointError, match="another version"):
        fit(tmp_path, toy.data, tiny_config, method="ce", seed=5)
    save_tensors(tmp_path / STATE_FILE, {"version": 3, "identity": "another"})
    with pytest.raises(CheckpointError, match="other inputs"):
        fit(tmp_path, toy.data, tiny_config, method="ce", seed=5)


def test_operation_changes_no_weight(toy: Toy, tiny_config: RunConfig, whole: Path, tmp_path: Path) -> None:
    """Dropout included: what is recomputed draws it as it was."""
    operation = Operation(
        gradient_checkpointing=True, save_every_steps=1, validate_epochs=True, track="tensorboard", log_dir=tmp_path
    )
    card = fit(tmp_path / "run", toy.data, tiny_config, method="ce", seed=5, operation=operation)
    (plain, weights), (curve, others) = outcome(whole), outcome(tmp_path / "run")
    assert plain is not None
    assert curve is not None
    assert curve.steps == plain.steps
    assert card.losses == tuple(curve.epochs.loss) == tuple(plain.epochs.loss)
    assert all(torch.equal(tensor, others[name]) for name, tensor in weights.items())
    assert set(curve.epochs.val_pr_auc) == {"direction", "shape", "topics"}
    assert plain.epochs.val_pr_auc == {}
    assert list(tmp_path.rglob("events.out.tfevents.*"))
