"""What is learnt of prices: robust, bounded, and never trusted before it was measured."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.video import DecodeCost
from service.scheduling.estimate import Estimate
from service.scheduling.price import UNKNOWN, PriceModel, expected_seconds


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def cost(fed: int = 300, width: int = 1280, height: int = 720, codec: str = "h264") -> DecodeCost:
    return DecodeCost("mp4", codec, width, height, fed, fed, 1000 * fed, 8)


def test_a_bad_guess_is_left_fast_and_trusted_only_then() -> None:
    estimate = Estimate()
    assert not estimate.trusted
    for _ in range(8):
        estimate.learn(6.0)
    assert estimate.trusted
    assert estimate.factor == pytest.approx(6.0)


def test_a_change_of_pace_is_followed() -> None:
    estimate = Estimate()
    for ratio in [1.0] * 20 + [2.0] * 20:
        estimate.learn(ratio)
    assert estimate.factor == pytest.approx(2.0, rel=0.1)


def test_liars_move_it_by_little() -> None:
    """One clip in ten takes a thousand times what its container says."""
    estimate = Estimate()
    for i in range(400):
        estimate.learn(1000.0 if i % 10 == 9 else 1.0)
    assert 1.0 <= estimate.factor < 1.25


def test_the_margin_covers_ninety_nine_of_a_hundred() -> None:
    estimate = Estimate()
    noise = random.Random(1)
    over = 0
    for i in range(6000):
        ratio = noise.lognormvariate(0.0, 0.25)
        over += i > 1000 and ratio > estimate.factor * estimate.margin
        estimate.learn(ratio)
    assert 0.002 < over / 5000 < 0.02
    assert 1.5 < estimate.margin < 2.4  # the noise has its 99th percentile at 1.79 of its median


def test_liars_make_the_margin_wide_and_honest_callers_bring_it_back() -> None:
    """One clip in ten lies by a thousand; then nobody does. A wide margin refuses who could have been answered."""
    estimate = Estimate()
    noise = random.Random(2)
    for i in range(200):
        estimate.learn(1000.0 if i % 10 == 9 else noise.lognormvariate(0.0, 0.1))
    assert estimate.margin == pytest.approx(2.5, rel=0.05), "and no wider"
    for _ in range(800):
        estimate.learn(noise.lognormvariate(0.0, 0.1))
    assert 1.05 <= estimate.margin < 1.5


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=60))
def test_no_measurement_takes_it_out_of_its_bounds(ratios: list[float]) -> None:
    estimate = Estimate()
    for ratio in ratios:
        estimate.learn(ratio)
        estimate.learn_at_least(ratio)
    assert 1 / 51 < estimate.factor < 51
    assert 1.04 < estimate.margin < 2.6


def test_what_was_broken_off_teaches_that_it_takes_longer_and_never_that_it_takes_less() -> None:
    estimate = Estimate()
    estimate.learn_at_least(0.1)
    assert estimate.factor == 1.0
    estimate.learn_at_least(3.0)
    assert estimate.factor == pytest.approx(3.0)


def test_trust_ends_when_nothing_was_measured_for_a_minute() -> None:
    """Who refuses everybody learns nothing more: one bad hour must not last for ever."""
    clock = Clock()
    estimate = Estimate(clock=clock)
    for _ in range(8):
        estimate.learn(50.0)
    assert estimate.trusted
    clock.now += 61
    assert not estimate.trusted
    estimate.learn(1.0)
    assert estimate.trusted


def test_prices_follow_pixels_packets_and_key_frame_distance() -> None:
    model = PriceModel(most_s=100)
    base = model.price(cost(), 0).seconds
    assert model.price(cost(fed=600), 0).seconds > 1.8 * base
    assert model.price(cost(width=1920, height=1080), 0).seconds > 2 * base
    assert model.price(cost(width=64, height=64), 0).seconds < 0.1 * base
    assert base == pytest.approx(expected_seconds(cost()))


def test_each_codec_has_its_own_pace_and_begins_at_the_others() -> None:
    model = PriceModel(most_s=100)
    for _ in range(10):
        model.learn(model.price(cost(), 0), 2 * expected_seconds(cost()))
    h264, av1 = model.price(cost(), 0), model.price(cost(codec="av1"), 0)
    assert h264.seconds == pytest.approx(2 * expected_seconds(cost()))
    assert av1.seconds == pytest.approx(h264.seconds)
    assert (h264.trusted, av1.trusted) == (True, False)
    for _ in range(30):
        model.learn(model.price(cost(codec="av1"), 0), 8 * expected_seconds(cost()))
    assert model.price(cost(codec="av1"), 0).seconds > 3 * model.price(cost(), 0).seconds


def test_strangers_cannot_add_codecs_without_end() -> None:
    model = PriceModel(most_s=100)
    for i in range(100):
        model.learn(model.price(cost(codec=f"made-up-{i}"), 0), 0.1)
    assert len(model._codecs) == 16


def test_a_price_is_at_most_what_a_decode_may_take() -> None:
    assert PriceModel(most_s=10).price(cost(fed=10**9), 0).seconds == 10


def test_what_says_nothing_is_priced_by_its_size() -> None:
    model = PriceModel(most_s=100)
    small, large = (model.price(None, size) for size in (1000, 10_000_000))
    assert small.codec == UNKNOWN
    assert small.seconds < 0.01 < large.seconds
