"""Picking: wanted pictures are reached without a second pass, and the allowance is spent to its last pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.errors import DecodeBudget
from contract.video import DecodeLimits, pyav_backend
from contract.video.probe import index_packets, open_container
from contract.video.pyav_backend import Allowance, pick, read_on
from tests.unit.contract.clips import HEIGHT, WIDTH, read_number, write_numbered


def picked(path: Path, wanted: list[int], limits: DecodeLimits) -> dict[int, int]:
    """Place in time of each wanted picture that came -> the number that it carries."""
    with open_container(path) as container:
        index = index_packets(path, container, limits)
        pts = [index.pts[n] for n in wanted]

        def shrink(frame: Any) -> Any:
            return np.asarray(pyav_backend.rgb(frame))

        got = pick(container, index, pts, Allowance(limits), shrink)
    return {index.pts.index(at): read_number(picture) for at, picture in got.items()}


@pytest.mark.parametrize("wanted", [[4], [5], [1, 2, 3], [0, 11, 29], list(range(30))])
def test_pictures_between_key_pictures_are_picked_in_the_first_pass(tmp_path: Path, wanted: list[int]) -> None:
    """Those that no other refers to as well: they are skipped only where nobody wants them."""
    path = write_numbered(tmp_path / "clip.mp4")
    assert picked(path, wanted, DecodeLimits()) == {n: n for n in wanted}


def test_an_allowance_may_be_spent_to_its_last_pixel() -> None:
    allowance = Allowance(DecodeLimits(max_decode_pixels=100))
    allowance.spend(60)
    allowance.spend(40)
    with pytest.raises(DecodeBudget, match="100"):
        allowance.spend(1)


def test_a_clip_of_just_the_limit_is_picked_and_one_pixel_less_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "clip.mp4", 10, gop=10, b_frames=0)
    whole = 10 * WIDTH * HEIGHT
    assert picked(path, [9], DecodeLimits(max_decode_pixels=whole)) == {9: 9}
    with pytest.raises(DecodeBudget):
        picked(path, [9], DecodeLimits(max_decode_pixels=whole - 1))


def test_from_the_moment_a_picture_appears_it_is_the_one_on_screen(tmp_path: Path) -> None:
    """Pictures appear each 40 ms: at 40 ms it is the second, a thousandth of a second before still the first."""
    path, limits = write_numbered(tmp_path / "clip.mp4", 10), DecodeLimits()
    targets_s = [0.0, 0.039, 0.04, 0.04, 0.119, 0.12, 0.36, 0.39]
    with open_container(path) as container:
        index = index_packets(path, container, limits)
        found = read_on(
            container, index, targets_s, Allowance(limits), lambda frame: np.asarray(pyav_backend.rgb(frame))
        )
    assert [read_number(picture) for _, picture in found] == [0, 0, 1, 1, 2, 3, 9, 9]
    assert [round(time_s, 6) for time_s, _ in found] == [0, 0, 0.04, 0.04, 0.08, 0.12, 0.36, 0.36]
