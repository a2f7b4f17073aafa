"""Distillation identities that hold for every logit, label and option."""

from __future__ import annotations

from dataclasses import fields

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.decision import TaskKind
from tests.unit.training.distillation.rows import task_rows, with_class_means
from training.config import DistillationConfig
from training.distillation.confidence import CONFIDENCES
from training.distillation.registry import METHODS
from training.distillation.row_weights import confidence_weights
from training.distillation.task_batch import FeaturePair, TaskBatch
from training.distillation.weighted_losses import WEIGHTINGS, mean_one

BATCHES = st.builds(
    task_rows,
    st.sampled_from(list(TaskKind)),
    scale=st.floats(0.01, 100),
    rows=st.integers(1, 12),
    seed=st.integers(0, 10_000),
)
OPTIONS = st.builds(
    DistillationConfig,
    lam=st.floats(0, 1),
    temperature=st.floats(0.25, 8),
    confidence=st.sampled_from(list(CONFIDENCES)),
    weighting=st.sampled_from(list(WEIGHTINGS)),
    gamma=st.just(0.0) | st.floats(1e-3, 4),
    floor=st.floats(0, 1),
)


@settings(max_examples=60, deadline=None)
@given(BATCHES, OPTIONS)
def test_weights_are_detached_in_the_unit_interval_and_norm_has_mean_one(
    batch: TaskBatch, config: DistillationConfig
) -> None:
    weight = confidence_weights(batch, config)
    assert not weight.requires_grad
    assert ((weight >= config.floor - 1e-6) & (weight <= 1)).all()
    if weight.mean() > 1e-6:
        assert abs(mean_one(weight).mean().item() - 1) < 1e-4


@settings(max_examples=60, deadline=None)
@given(BATCHES, OPTIONS)
def test_gamma_zero_is_pfd_and_lambda_zero_is_cross_entropy(batch: TaskBatch, config: DistillationConfig) -> None:
    neutral = config.model_copy(update={"gamma": 0.0})
    assert torch.equal(METHODS["cpfd"](batch, neutral), METHODS["pfd"](batch, neutral))
    labels = config.model_copy(update={"lam": 0.0})
    assert torch.equal(METHODS["cpfd"](batch, labels), METHODS["ce"](batch, labels))


@settings(max_examples=60, deadline=None)
@given(BATCHES, OPTIONS, st.sampled_from(list(METHODS)))
def test_every_method_is_finite_and_indifferent_to_the_order_of_rows(
    batch: TaskBatch, config: DistillationConfig, name: str
) -> None:
    batch = with_class_means(batch, METHODS[name].configured(config))
    loss = METHODS[name](batch, config)
    assert torch.isfinite(loss)
    if name in ("cpfd_shuffled", "mtl", "cpfd_inverted"):
        return  # drawn by position; other rows' features; ties are broken by position
    assert batch.teacher_NK is not None
    pair = batch.features
    assert pair is not None
    turned = TaskBatch(
        batch.kind,
        batch.logits_NK.flip(0),
        batch.targets.flip(0),
        batch.teacher_NK.flip(0),
        batch.calibration_temperature,
        batch.context,
        features=FeaturePair(*(getattr(pair, field.name).flip(0) for field in fields(pair))),
    )
    assert torch.allclose(METHODS[name](turned, config), loss, rtol=1e-4, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(BATCHES, OPTIONS)
def test_class_normalised_weights_are_finite_and_not_negative(batch: TaskBatch, config: DistillationConfig) -> None:
    normed = config.model_copy(update={"per_class_norm": True})
    weight = confidence_weights(with_class_means(batch, normed), normed)
    assert torch.isfinite(weight).all()
    assert (weight >= 0).all()
