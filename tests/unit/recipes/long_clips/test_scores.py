"""Found and pointed at, of clips whose evidence is known."""

from __future__ import annotations

import numpy as np
import pytest

from recipes.long_clips.composition import LongClipSettings, compose
from recipes.long_clips.scores import Judged, judge, summary
from tests.moment_model import CLIP, SPEC, moment_config, moment_model
from tests.unit.recipes.long_clips.test_composition import NEGATIVES, POSITIVES
from training.config import RunConfig
from training.models.moment_xvlm import MomentXVLM

SETTINGS = LongClipSettings(length_s=8.0, draws=6)


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return RunConfig(input_spec=SPEC, model=moment_config())


@pytest.fixture(scope="module")
def model(config: RunConfig) -> MomentXVLM:
    return moment_model(config.model)


def test_the_score_is_the_sum_of_shares_and_the_strongest_moment_is_pointed_at(
    model: MomentXVLM, config: RunConfig
) -> None:
    """Two moments, at 2 s and 6 s: the strongest of them is near the place or not."""
    clips = compose(POSITIVES, NEGATIVES, SETTINGS)
    width = model.vision_encoder.trunk.width
    features = np.random.default_rng(1).normal(size=(len(clips), SPEC.moments, width)).astype(np.float16)
    found = judge(model, clips, features, CLIP, SETTINGS, config)
    for n, clip in enumerate(clips):
        shares = judge(model, [clip], features[n : n + 1], CLIP, SETTINGS, config)
        assert shares.scores_N[0] == pytest.approx(found.scores_N[n], abs=1e-4)
    start = np.asarray([clip.place_s[0] for clip in clips])
    near_NK = np.stack([(time >= start - 0.5) & (time <= start + 1.9 + 0.5) for time in (2.0, 6.0)], axis=1)
    np.testing.assert_allclose(found.chance_N, near_NK.mean(axis=1))
    swapped = judge(model, clips, features[:, ::-1].copy(), CLIP, SETTINGS, config)
    told = near_NK.any(axis=1) & ~near_NK.all(axis=1)
    changed = found.pointed_N != swapped.pointed_N
    assert changed[told].mean() > 0.9
    assert not changed[~told].any()


def judged(scores: np.ndarray, pointed: np.ndarray) -> Judged:
    clips = compose(POSITIVES, NEGATIVES, SETTINGS)
    return Judged(clips, scores, pointed, np.full(len(clips), 0.2))


def test_a_student_that_finds_and_points_at_everything_has_the_highest_figures() -> None:
    count = len(compose(POSITIVES, NEGATIVES, SETTINGS))
    positive = np.arange(count) % 2 == 0
    found = summary([judged(positive.astype(float), positive)], replicates=100)
    assert found["roc_auc"]["value"] == 1.0
    assert found["roc_auc"]["interval"] == [1.0, 1.0]
    assert found["pointed_at"]["value"] == 1.0
    assert found["pointed_at_by_chance"] == 0.2


def test_a_student_that_says_the_same_of_both_has_learnt_nothing() -> None:
    count = len(compose(POSITIVES, NEGATIVES, SETTINGS))
    found = summary([judged(np.zeros(count), np.zeros(count, bool))], replicates=100)
    assert found["roc_auc"]["value"] == 0.5
    assert found["pointed_at"]["value"] == 0.0


def test_an_interval_is_over_the_groups_at_the_places() -> None:
    """One of three sources is never pointed at: whether replicates draw it is what the interval shows."""
    clips = compose(POSITIVES, NEGATIVES, SETTINGS)
    positive = np.asarray([clip.positive for clip in clips])
    pointed = np.asarray([clip.positive and clip.group != "source 0" for clip in clips])
    found = summary([judged(positive.astype(float), pointed)], replicates=400)["pointed_at"]
    assert found["value"] == pytest.approx(2 / 3, abs=1e-3)
    assert found["interval"][0] < 0.4
    assert found["interval"][1] == 1.0
