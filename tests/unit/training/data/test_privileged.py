from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.manifest import PrivilegedGroup, Row
from training.data.privileged import CLIP_STD, PrivilegedStatistics

FLOW = PrivilegedGroup(name="flow", features=("speed", "flat", "never"))


def row(speed: float | None, flat: float | None = 3.0, **other: float) -> Row:
    return Row(id="r", group="g", privileged={"flow": {"speed": speed, "flat": flat, **other}})


BARE = Row(id="bare", group="g")


def test_statistics_are_those_of_present_train_values() -> None:
    fitted = PrivilegedStatistics.fit([row(1.0), row(None), row(5.0), BARE], [FLOW])
    (group,) = fitted.groups
    assert group.means[0] == 3.0
    assert group.stds == (2.0, 0.0, 0.0)
    assert fitted.widths == {"flow": 3}


def test_values_are_standardised_clipped_and_zero_where_absent() -> None:
    fitted = PrivilegedStatistics.fit([row(1.0), row(5.0)], [FLOW])
    values, presence = fitted.transform([row(5.0), row(None), BARE, row(1e9), row(-1e9, never=4.0)])["flow"]
    assert values.dtype == presence.dtype == np.float32
    np.testing.assert_allclose(values[:, 0], [1, 0, 0, CLIP_STD, -CLIP_STD])
    np.testing.assert_array_equal(presence[:, 0], [1, 0, 0, 1, 1])


def test_a_feature_without_variance_in_train_is_always_absent() -> None:
    fitted = PrivilegedStatistics.fit([row(1.0), row(5.0)], [FLOW])
    values, presence = fitted.transform([row(5.0, flat=99.0, never=7.0)])["flow"]
    np.testing.assert_array_equal(values[0, 1:], 0)
    np.testing.assert_array_equal(presence[0, 1:], 0)
    assert fitted.unread == ("flow.flat", "flow.never")


def test_a_constant_of_any_size_is_constant() -> None:
    tiny = PrivilegedGroup(name="flow", features=("speed",))
    assert PrivilegedStatistics.fit([row(0.1)] * 7, [tiny]).groups[0].stds == (0.0,)
    assert PrivilegedStatistics.fit([row(1e-5), row(3e-5)], [tiny]).groups[0].stds[0] == pytest.approx(1e-5)


@pytest.mark.parametrize(
    ("values", "constant"),
    [
        ((1e6, 1e6 + 1.0), True),  # a deviation of half a millionth of the mean is rounding
        ((1e6, 1e6 + 4.0), False),
        ((-1e6, -1e6 - 1.0), True),
        ((-1e-13, 1e-13), True),  # around a mean of 0 the measure is a millionth of a millionth
        ((-1e-11, 1e-11), False),
    ],
)
def test_a_deviation_counts_in_proportion_to_the_mean(values: tuple[float, float], constant: bool) -> None:
    fitted = PrivilegedStatistics.fit([row(value) for value in values], [FLOW])
    assert (fitted.groups[0].stds[0] == 0) is constant
    assert ("flow.speed" in fitted.unread) is constant


def test_a_group_is_present_where_any_usable_value_is() -> None:
    fitted = PrivilegedStatistics.fit([row(1.0), row(5.0)], [FLOW])
    present = fitted.group_present([row(2.0), row(None), BARE])["flow"]
    assert present.dtype == np.bool_
    np.testing.assert_array_equal(present, [True, False, False])


def test_no_rows_give_empty_arrays() -> None:
    fitted = PrivilegedStatistics.fit([row(1.0), row(5.0)], [FLOW])
    assert fitted.transform([])["flow"][0].shape == (0, 3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=r"privileged\.flow\.speed"):
        PrivilegedStatistics.fit([row(bad)], [FLOW])


def test_statistics_survive_json() -> None:
    fitted = PrivilegedStatistics.fit([row(0.1), row(0.7)], [FLOW])
    again = PrivilegedStatistics.model_validate_json(fitted.model_dump_json())
    assert again == fitted
    assert again.digest() == fitted.digest()


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=20))
def test_outputs_stay_in_range_whatever_the_values(speeds: list[float | None]) -> None:
    rows = [row(speed) for speed in speeds]
    values, presence = PrivilegedStatistics.fit(rows[::2], [FLOW]).transform(rows)["flow"]
    assert np.isfinite(values).all()
    assert (np.abs(values) <= CLIP_STD).all()
    assert (values[presence == 0] == 0).all()
    assert set(np.unique(presence)) <= {0.0, 1.0}
