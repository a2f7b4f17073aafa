"""Two processes train what one trains: the same losses step by step, the same weights at the end."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training.conftest import Toy
from tests.unit.training.fitting.several_processes import CASES, Case, assert_same_weights, train, work
from training.config import RunConfig
from training.fitting.learning_curve import read_curve


@pytest.fixture(scope="module")
def shared_runs(toy: Toy, tiny_config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes trained all cases together."""
    directory = tmp_path_factory.mktemp("two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(work, (directory, toy, tiny_config, port), nprocs=2)
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_two_processes_equal_one(
    shared_runs: Path, toy: Toy, tiny_config: RunConfig, tmp_path: Path, case: Case
) -> None:
    curve, weights = train(tmp_path, toy, tiny_config, case)
    shared = read_curve(shared_runs / case.name)
    assert shared is not None
    assert len(curve.steps.loss) >= 4
    np.testing.assert_allclose(shared.steps.loss, curve.steps.loss, rtol=2e-5, atol=1e-6)
    assert shared.epochs.val_pr_auc.keys() == curve.epochs.val_pr_auc.keys()
    shared_weights = torch.load(shared_runs / case.name / "weights.pt", weights_only=True)
    assert_same_weights(shared_weights, weights)
