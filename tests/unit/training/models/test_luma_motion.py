"""Motion of brightness: against plain numpy, on motions whose answer is known, and as part of a trunk."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.moment_model import SPEC, moment_config
from training.models.luma_motion import WIDTH, luma, luma_motion
from training.models.vision_trunk import VisionTrunk

BACK, BACK_TOP, CHANGE, CHORD, ON, TOP, BACK_SHARE, TOP_SHARE, CHORD_SHARE = range(WIDTH)
SIDE = 20


def pictures(seed: int, count: int = 4, moments: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (moments, count, SIDE, SIDE, 3), generator=generator, dtype=torch.uint8)


def by_hand(grid_PHW: NDArray[np.float64]) -> list[float]:
    """One moment, place by place and picture by picture."""
    rows = []
    for a, b, c in zip(grid_PHW[:-2], grid_PHW[1:-1], grid_PHW[2:], strict=True):
        before, after = (b - a).ravel(), (c - b).ravel()
        swing = [min(abs(x), abs(y)) for x, y in zip(before, after, strict=True)]
        back = [s if x * y < 0 else 0.0 for s, x, y in zip(swing, before, after, strict=True)]
        on = [0.0 if x * y < 0 else s for s, x, y in zip(swing, before, after, strict=True)]
        tenth = max(1, round(0.1 * len(back)))
        rows.append(
            [
                np.mean(back),
                np.mean(sorted(back)[-tenth:]),
                (np.mean(np.abs(before)) + np.mean(np.abs(after))) / 2,
                np.mean(np.abs((c - a).ravel())),
                np.mean(on),
                np.mean(sorted(np.abs(after))[-tenth:]),
            ]
        )
    m = np.mean(rows, axis=0)
    return [*np.log(m + 0.05), m[BACK] / (m[CHANGE] + 0.3), m[BACK_TOP] / (m[TOP] + 1), m[CHORD] / (m[CHANGE] + 0.3)]


@pytest.mark.parametrize("places", [20, 10, 5])
@pytest.mark.parametrize("count", [3, 6])
def test_it_is_what_plain_loops_give(places: int, count: int) -> None:
    shown = pictures(1, count)
    grey = shown.numpy().astype(np.float64) @ [0.299, 0.587, 0.114]
    step = SIDE // places
    grids = grey.reshape(*grey.shape[:2], places, step, places, step).mean(axis=(3, 5))
    expected = [by_hand(grid) for grid in grids]
    np.testing.assert_allclose(luma_motion(luma(shown), places).numpy(), expected, rtol=1e-4, atol=1e-4)


def ramp(values: list[float]) -> Tensor:
    """(1, P, S, S): pictures of one brightness each."""
    return torch.stack([torch.full((SIDE, SIDE), float(value)) for value in values])[None]


def test_what_comes_back_and_what_goes_on_are_told_apart() -> None:
    to_and_fro, steady = luma_motion(ramp([0, 40, 0, 40, 0]), 10)[0], luma_motion(ramp([0, 40, 80, 120, 160]), 10)[0]
    assert to_and_fro[BACK].exp() == pytest.approx(40.05)
    assert to_and_fro[BACK_SHARE] == pytest.approx(40 / 40.3)
    assert to_and_fro[CHORD_SHARE] == 0
    assert to_and_fro[ON].exp() == pytest.approx(0.05)
    assert steady[ON].exp() == pytest.approx(40.05)
    assert steady[CHORD_SHARE] == pytest.approx(80 / 40.3)
    assert steady[BACK_SHARE] == 0


def test_a_cut_is_neither() -> None:
    found = luma_motion(ramp([0, 0, 200, 200]), 10)[0]
    assert found[BACK].exp() == pytest.approx(0.05)
    assert found[ON].exp() == pytest.approx(0.05)
    assert found[CHANGE].exp() == pytest.approx(100.05)


def test_a_still_moment_is_finite() -> None:
    assert torch.isfinite(luma_motion(ramp([7, 7, 7]), 10)).all()


def test_a_grid_must_divide_the_picture() -> None:
    with pytest.raises(ValueError, match="20 pixels a side have no grid of 3 places"):
        luma_motion(ramp([0, 0, 0]), 3)


def test_the_backbone_reads_the_middle_pictures_and_brightness_all() -> None:
    spec = SPEC.model_copy(
        update={"frames": 10, "burst": SPEC.burst.model_copy(update={"moments": 2, "pictures": 5})}  # type: ignore[union-attr]
    )
    side = spec.frame_size
    vision = {"statistics": ("mean", "luma_motion"), "backbone_pictures": 3, "luma_grids": (side // 2, side // 4)}
    trunk = VisionTrunk(moment_config(vision=vision).vision, spec).eval()  # type: ignore[arg-type]
    of_maps, of_luma = trunk.columns_of({"mean"}), trunk.columns_of({"luma_motion"})
    assert len(of_luma) == 2 * WIDTH
    assert sorted(of_maps + of_luma) == list(range(trunk.width))
    frames = torch.randint(0, 256, (1, *spec.frames_shape), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    outer, inner = frames.clone(), frames.clone()
    outer[:, [0, 4]] = 255 - outer[:, [0, 4]]  # of the first moment
    inner[:, 2] = 255 - inner[:, 2]
    with torch.no_grad():
        was, at_outer, at_inner = (trunk(some)[0] for some in (frames, outer, inner))
    assert torch.equal(was[:, of_maps], at_outer[:, of_maps])
    assert not torch.equal(was[0, of_maps], at_inner[0, of_maps])
    for other in (at_outer, at_inner):
        assert (was[0, of_luma] != other[0, of_luma]).any()
        assert torch.equal(was[1], other[1])
    own = luma(frames[0, 5:].unsqueeze(0))
    torch.testing.assert_close(
        was[1, of_luma], torch.cat([luma_motion(own, side // 2), luma_motion(own, side // 4)], 1)[0]
    )


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="backbone_pictures of 3 or more"):
        moment_config(vision={"statistics": ("swing", "luma_motion"), "backbone_pictures": 2})
    with pytest.raises(ValueError, match="luma_grids must divide"):
        moment_config(vision={"statistics": ("mean", "luma_motion"), "luma_grids": (7,)}).check_input(SPEC)
