"""What the model says of each moment leaves the bundle's graphs as it left the model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from contract.input_spec import TextField
from contract.model_graphs import EVIDENCE_PREFIX, ModelGraphs, moment_scores
from model_export.sessions import open_written
from model_export.to_onnx import export_graphs
from tests.moment_model import BOTH, CLIP, SPEC, TASKS, batch_of, moment_config, moment_model
from training.models.moment_xvlm import MomentXVLM

CLOSE = {"atol": 1e-4, "rtol": 1e-3}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[MomentXVLM, ModelGraphs]:
    """A student whose clip task is pooled by its strongest moments, channels tied, as it is once stored; its graphs."""
    model = moment_model(moment_config(vision={"task_pooling": {"clip": "strongest"}, "tied_channels": ("clip",)}))
    longer = SPEC.model_copy(update={"text_fields": (TextField(name="title", max_tokens=14),)})
    card: Any = SimpleNamespace(role="student", config=SimpleNamespace(input_spec=longer), tasks=TASKS)
    home = tmp_path_factory.mktemp("evidence")
    return model, open_written(card, export_graphs(model, card, home), home)


def feeds(size: int) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in batch_of(size, seed=4).items()}


@torch.no_grad()
def own_evidence(model: MomentXVLM, frames: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    features = model.vision_encoder.trunk(torch.from_numpy(frames))
    return {name: shares.numpy() for name, shares in model.evidence(features).items()}


@pytest.mark.parametrize("size", [1, 3])
def test_evidence_is_the_model_s_own(exported: tuple[MomentXVLM, ModelGraphs], size: int) -> None:
    model, graphs = exported
    inputs = feeds(size)
    found, own = graphs.run(inputs), own_evidence(model, inputs["frames"])
    assert set(own) == {CLIP.name, BOTH.name}
    for name, shares in own.items():
        assert shares.shape[:2] == (size, SPEC.moments)
        assert np.ptp(shares, axis=1).max() > 1e-3, "moments that say the same would hide a wrong order"
        np.testing.assert_allclose(found[EVIDENCE_PREFIX + name], shares, **CLOSE)


def test_moments_add_up_to_the_verdict_of_a_task_of_clips_alone(exported: tuple[MomentXVLM, ModelGraphs]) -> None:
    _, graphs = exported
    found = graphs.run(feeds(3))
    shares_BMK, logits_BK = found[EVIDENCE_PREFIX + CLIP.name], found[CLIP.name]
    np.testing.assert_allclose(shares_BMK.sum(axis=1), logits_BK, **CLOSE)
    scores = [moment_scores(shares_MK, CLIP, 1.0) for shares_MK in shares_BMK]
    np.testing.assert_allclose([score.sum() for score in scores], logits_BK[:, 0], **CLOSE)


def test_a_moment_that_changes_changes_its_own_evidence_most(exported: tuple[MomentXVLM, ModelGraphs]) -> None:
    _, graphs = exported
    inputs = feeds(2)
    changed = dict(inputs, frames=inputs["frames"].copy())
    changed["frames"][:, 3:] = 255 - changed["frames"][:, 3:]
    before, after = (graphs.run(one)[EVIDENCE_PREFIX + BOTH.name] for one in (inputs, changed))
    moved_BM = np.abs(after - before).max(axis=2)
    assert (moved_BM[:, 1] > moved_BM[:, 0]).all()
