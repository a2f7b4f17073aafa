"""Which moments are wanted, and which picture is on screen then."""

from __future__ import annotations

import pytest

from contract.video.sampling import on_screen, target_times


def test_the_middle_of_each_equal_span() -> None:
    assert target_times(0.0, 8.0, 4, "segment_middle") == [1.0, 3.0, 5.0, 7.0]


def test_the_start_of_each_equal_span() -> None:
    assert target_times(2.0, 6.0, 4, "segment_first") == [2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(("target", "index"), [(-1.0, 0), (0.0, 0), (0.39, 0), (0.4, 1), (0.99, 1), (7.0, 2)])
def test_the_last_picture_that_started_is_on_screen(target: float, index: int) -> None:
    assert on_screen([0.0, 0.4, 1.0], [target]) == [index]


def test_a_target_computed_as_a_start_does_not_fall_before_it() -> None:
    assert on_screen([0.0, 0.1, 0.2, 0.1 * 3], [0.3 - 1e-12]) == [3]


def test_few_pictures_are_repeated_in_order() -> None:
    assert on_screen([0.0, 0.5], target_times(0.0, 1.0, 5, "segment_middle")) == [0, 0, 1, 1, 1]
