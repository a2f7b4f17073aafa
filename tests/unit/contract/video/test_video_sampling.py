"""Which moments are wanted, and which picture is on screen then."""

from __future__ import annotations

import pytest

from contract.input_spec import BurstSpec, InputSpec
from contract.video.sampling import on_screen, target_times


def test_the_middle_of_each_equal_span() -> None:
    assert target_times(0.0, 8.0, InputSpec(frames=4, sampling="segment_middle")) == [1.0, 3.0, 5.0, 7.0]


def test_the_start_of_each_equal_span() -> None:
    assert target_times(2.0, 6.0, InputSpec(frames=4, sampling="segment_first")) == [2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(("target", "index"), [(-1.0, 0), (0.0, 0), (0.39, 0), (0.4, 1), (0.99, 1), (7.0, 2)])
def test_the_last_picture_that_started_is_on_screen(target: float, index: int) -> None:
    assert on_screen([0.0, 0.4, 1.0], [target]) == [index]


def test_a_target_computed_as_a_start_does_not_fall_before_it() -> None:
    assert on_screen([0.0, 0.1, 0.2, 0.1 * 3], [0.3 - 1e-12]) == [3]


def test_few_pictures_are_repeated_in_order() -> None:
    assert on_screen([0.0, 0.5], target_times(0.0, 1.0, InputSpec(frames=5, sampling="segment_middle"))) == [
        0,
        0,
        1,
        1,
        1,
    ]


def bursts(moments: int, pictures: int, step_ms: float) -> InputSpec:
    burst = BurstSpec(moments=moments, pictures=pictures, step_ms=step_ms)
    return InputSpec(frames=moments * pictures, sampling="bursts", burst=burst)


@pytest.mark.parametrize("end_s", [2.0, 15.0])
def test_the_step_of_a_burst_is_the_same_on_every_clip(end_s: float) -> None:
    times = target_times(0.0, end_s, bursts(4, 3, 80.0))
    assert [times[i + 1] - times[i] for i in (0, 1, 3, 4, 9, 10)] == pytest.approx([0.08] * 6)
    assert times[1::3] == pytest.approx([end_s * (i + 0.5) / 4 for i in range(4)])


def test_a_burst_that_would_reach_out_of_the_clip_is_moved_into_it() -> None:
    assert target_times(0.0, 1.0, bursts(2, 3, 400.0)) == pytest.approx([0.0, 0.4, 0.8, 0.2, 0.6, 1.0])


def test_a_burst_longer_than_the_clip_loses_its_outer_steps() -> None:
    times = target_times(0.0, 0.1, bursts(1, 3, 200.0))
    assert all(0.0 <= time <= 0.1 for time in times)
    assert times == sorted(times)


@pytest.mark.parametrize("phase", [-0.5, -0.2, 0.0, 0.3, 0.5])
def test_a_phase_moves_every_moment_and_none_out_of_the_clip(phase: float) -> None:
    plain, moved = (target_times(0.0, 8.0, InputSpec(frames=4), phase=p) for p in (0.0, phase))
    assert [b - a for a, b in zip(plain, moved, strict=True)] == pytest.approx([2.0 * phase] * 4)
    assert all(0.0 <= time <= 8.0 for time in target_times(0.0, 8.0, bursts(4, 3, 400.0), phase))


@pytest.mark.parametrize(
    "wrong",
    [
        {"sampling": "bursts"},
        {"burst": BurstSpec(moments=4, pictures=2, step_ms=80)},
        {"sampling": "bursts", "frames": 9, "burst": BurstSpec(moments=4, pictures=2, step_ms=80)},
    ],
)
def test_bursts_that_do_not_fit_the_frames_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"burst|moments x pictures"):
        InputSpec.model_validate(wrong)


def test_a_spec_without_bursts_keeps_its_digest() -> None:
    assert "burst" not in InputSpec().model_dump()
    assert InputSpec().digest() != bursts(4, 2, 80.0).digest()
