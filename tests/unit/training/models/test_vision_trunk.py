"""What the statistics of a moment see, and that a frozen trunk is a function of the pictures alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.moment_model import LONG_BURSTS, MIDDLE, SPEC, batch_of, moment_config, moment_model, with_lively_trunk
from training.models.vision_trunk import VisionTrunk, statistic

SIDE = 10


def burst(*pictures: Tensor) -> Tensor:
    """(1, 3, C, h, w)."""
    return torch.stack(pictures)[None]


def scene(seed: int) -> Tensor:
    return torch.rand(4, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def to_and_fro(seed: int) -> Tensor:
    """A scene of which a corner leaves and comes back."""
    away = scene(seed)
    away[:, :4, :4] += 1.0
    return burst(scene(seed), away, scene(seed))


def test_what_moves_to_and_fro_is_seen_by_both_statistics() -> None:
    for kind in ("tremor", "swing"):
        assert float(statistic(to_and_fro(1), kind).min()) > 0.9, kind


def test_steady_motion_is_not_taken_for_a_tremor() -> None:
    steady = burst(scene(1), scene(1) + 1.0, scene(1) + 2.0)
    assert float(statistic(steady, "tremor").max()) <= 0
    for kind in ("swing", "swing_mean", "swing_smooth"):
        assert float(statistic(steady, kind).max()) <= -0.9


@pytest.mark.parametrize("cut", [burst(scene(1), scene(2), scene(2)), burst(scene(1), scene(1), scene(2))])
def test_a_cut_within_a_burst_is_a_tremor_but_no_swing(cut: Tensor) -> None:
    assert float(statistic(cut, "tremor").min()) > 0.3
    for kind in ("swing", "swing_mean", "swing_smooth"):
        assert float(statistic(cut, kind).abs().max()) < 1e-6


def test_a_still_burst_has_no_motion() -> None:
    still = burst(scene(1), scene(1), scene(1))
    for kind in ("motion_mean", "motion_max", "tremor", "swing", "swing_mean", "swing_smooth"):
        assert float(statistic(still, kind).abs().max()) < 1e-6, kind


def test_the_mean_swing_sets_what_comes_back_against_what_goes_on() -> None:
    comes_back = to_and_fro(1)
    assert float(statistic(comes_back, "swing_mean").mean()) == pytest.approx(16 / SIDE**2, abs=1e-6)
    goes_on = comes_back.clone()
    goes_on[:, 1, :, 4:] += 0.5
    goes_on[:, 2, :, 4:] += 2.0  # sixty places of a hundred: 0.5, then 1.5 more
    expected = (16 * 1.0 - 60 * 0.5) / SIDE**2
    assert float(statistic(goes_on, "swing_mean").mean()) == pytest.approx(expected, abs=1e-6)
    assert float(statistic(goes_on, "swing").min()) > 0.9  # blind to all but the places that swing most


def test_the_smooth_swing_is_that_of_the_means_of_neighbours() -> None:
    pictures = to_and_fro(1)
    means = pictures.unfold(-2, 3, 1).unfold(-2, 3, 1).mean(dim=(-1, -2))
    assert torch.allclose(statistic(pictures, "swing_smooth"), statistic(means, "swing_mean"), atol=1e-6)
    small = pictures[..., :2, :2]  # too small to have a place with all its neighbours
    mean = small.mean(dim=(-1, -2), keepdim=True)
    assert torch.allclose(statistic(small, "swing_smooth"), statistic(mean, "swing_mean"), atol=1e-6)


def test_what_flickers_from_place_to_place_is_no_smooth_swing() -> None:
    """A checkerboard that comes and goes cancels within a neighbourhood; a figure as large as one does not."""
    board = (torch.arange(SIDE)[:, None] + torch.arange(SIDE)) % 2 * 2.0 - 1.0
    still = torch.zeros(1, 1, 1, SIDE, SIDE)
    flickers = torch.cat([still, still + board, still], dim=1)
    assert float(statistic(flickers, "swing_mean")) == pytest.approx(1.0)
    assert float(statistic(flickers, "swing_smooth")) == pytest.approx(1 / 9)


def test_what_moves_is_weighted_by_its_motion() -> None:
    pictures = to_and_fro(1)
    pictures[:, 1, 0, :4, :4] = 7.0
    assert float(statistic(pictures, "moving")[0, 0, 0]) == pytest.approx(7.0, abs=1e-3)


@torch.no_grad()
def test_moments_are_read_each_by_itself() -> None:
    trunk = with_lively_trunk(moment_model()).vision_encoder.trunk
    frames = batch_of(2)["frames"]
    together = trunk(frames)
    assert float(together.std()) > 0.1
    alone = torch.stack([trunk(clip[None])[0] for clip in frames])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    first = trunk.moments(frames[0, :3][None])[0]
    torch.testing.assert_close(together[0, 0], first, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_frozen_trunk_stays_as_it_is_while_the_rest_is_trained() -> None:
    trunk = moment_model().vision_encoder.trunk
    frames = batch_of(2)["frames"]
    before = trunk(frames)
    trunk.train()
    assert trunk.frozen
    assert torch.equal(trunk(frames), before)


@pytest.mark.parametrize(
    ("deepest", "blocks"), [("stride16", {9, 10}), ("stride32_first", {13, 14}), ("stride32", {14, 15})]
)
def test_blocks_that_are_trained_are_the_last_that_are_computed(deepest: str, blocks: set[int]) -> None:
    vision = {"trainable_blocks": 2, "maps": tuple(dict.fromkeys(("stride16", deepest)))}
    trunk = with_lively_trunk(moment_model(moment_config(vision=vision))).vision_encoder.trunk
    trained = {name: parameter for name, parameter in trunk.named_parameters() if parameter.requires_grad}
    assert {int(name.split("_blocks.")[1].split(".")[0]) for name in trained} == blocks
    assert not trunk.frozen
    trunk(batch_of(2)["frames"]).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in trained.values())


def test_columns_are_those_of_the_statistics_asked_for() -> None:
    trunk = VisionTrunk(moment_config(vision={"statistics": ("mean", "swing", "moving")}).vision, SPEC)  # type: ignore[arg-type]
    each = trunk.width // 3
    assert trunk.columns_of({"swing"}) == [[range(each, 2 * each)]]
    assert trunk.columns_of({"mean", "moving"}) == [[range(each)], [range(2 * each, 3 * each)]]


@torch.no_grad()
def test_each_map_keeps_its_own_statistics_and_is_computed_no_deeper_than_wanted() -> None:
    maps, kept = ("stride16", "stride32_first"), {"stride32_first": ("swing_mean",)}
    vision = {"maps": maps, "statistics": ("mean", "moving"), "map_statistics": kept}
    trunk = VisionTrunk(moment_config(vision=vision).vision, SPEC)  # type: ignore[arg-type]
    assert list(trunk.columns) == [("stride16", "mean"), ("stride16", "moving"), ("stride32_first", "swing_mean")]
    assert trunk.columns_of({"swing_mean"}) == [[range(2 * 112, 2 * 112 + 192)]]
    frames = batch_of(2)["frames"]
    pixels = frames.flatten(0, 1).permute(0, 3, 1, 2).float()
    own = {name: found.unflatten(0, (-1, 3)) for name, found in trunk.pictures(pixels, maps).items()}
    wanted = torch.cat([statistic(own[name], kind)[:, 0] for name, kind in trunk.columns], dim=1)
    torch.testing.assert_close(trunk(frames).flatten(0, 1), wanted)
    run = []
    for number, block in enumerate(trunk.pictures._blocks):
        block.register_forward_hook(lambda *_, number=number: run.append(number))
    pictures = torch.rand(3, 3, 64, 64) * 255
    found = trunk.pictures(pictures, maps)
    assert run == list(range(len(trunk.pictures._blocks) - 1))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "stride16": (3, 112, 4, 4),
        "stride32_first": (3, 192, 2, 2),
    }
    for name in ("stride32", "head"):
        torch.testing.assert_close(trunk.pictures(pictures, (*maps, name))["stride32_first"], found["stride32_first"])


@torch.no_grad()
def test_what_takes_three_pictures_is_kept_of_each_three_neighbours() -> None:
    statistics = ("motion_mean", "tremor", "swing_smooth", "moving")
    config = moment_config(vision={"statistics": statistics})
    model = with_lively_trunk(moment_model(config, spec=LONG_BURSTS))
    long, short = model.vision_encoder.trunk, VisionTrunk(config.vision, SPEC)  # type: ignore[arg-type]
    short.eval().load_state_dict(long.state_dict())
    burst = batch_of(1, spec=LONG_BURSTS)["frames"][0, :5]
    found, alone = long.moments(burst[None])[0], [short.moments(burst[i : i + 3][None])[0] for i in range(3)]
    for kind in statistics[1:]:
        (times,), (once,) = long.columns_of({kind}), short.columns_of({kind})
        assert len(times) == 3
        for own, three in zip(times, alone, strict=True):
            torch.testing.assert_close(found[[*own]], three[[*once[0]]], atol=1e-4, rtol=1e-4)
    ((mean,),) = long.columns_of({"motion_mean"})
    assert len(mean) == 112
    assert long.width == 112 * (1 + 3 * 3)


@torch.no_grad()
def test_deep_maps_can_be_those_of_the_middle_pictures_alone() -> None:
    model = with_lively_trunk(moment_model(moment_config(vision=MIDDLE), spec=LONG_BURSTS))
    trunk = model.vision_encoder.trunk
    frames = batch_of(2, spec=LONG_BURSTS)["frames"]
    bursts = frames.unflatten(1, (-1, 5))
    pixels = bursts.flatten(0, 2).permute(0, 3, 1, 2).float()
    whole = {name: found.unflatten(0, (-1, 5)) for name, found in trunk.pictures(pixels, MIDDLE["maps"]).items()}
    read = {"stride16_first": whole["stride16_first"], "stride16": whole["stride16"][:, 1:4]}
    wanted = torch.cat([statistic(read[name], kind).flatten(1) for name, kind in trunk.columns], dim=1)
    run: list[int] = []
    trunk.pictures._blocks[7].register_forward_hook(lambda _, __, found: run.append(len(found)))
    trunk.pictures._blocks[8].register_forward_hook(lambda _, __, found: run.append(len(found)))
    torch.testing.assert_close(trunk(frames).flatten(0, 1), wanted, atol=1e-4, rtol=1e-4)
    assert run == [2 * 2 * 5, 2 * 2 * 3]
    assert [len(trunk.columns[key]) for key in trunk.columns] == [1, 3, 1, 1, 1]


@pytest.mark.parametrize(
    ("vision", "says"),
    [
        ({"middle_maps": ("stride16", "stride16_first")}, "not all of them"),
        ({"middle_maps": ("stride32",)}, "some of maps"),
        ({"middle_maps": ("stride16_first",), "map_statistics": {}}, "must lie behind all other maps"),
        ({"backbone": "auto:somewhere", "map_statistics": {}}, "middle_maps is for the EfficientNet-Lite"),
    ],
)
def test_middle_maps_that_cannot_be_are_refused(vision: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        moment_config(vision=MIDDLE | vision)


@pytest.mark.parametrize(
    ("vision", "says"),
    [
        ({"map_statistics": {"head": ("mean",)}}, "head, which is not one of maps"),
        ({"map_statistics": {"stride16": ()}}, "one at least"),
        ({"statistics": ("mean",), "task_statistics": {"clip": ("swing",)}}, "clip must be some of those"),
        ({"statistics": ("mean", "max", "mean")}, "stride16 or a statistic of it is named twice"),
        ({"maps": ("head", "head")}, "head or a statistic of it is named twice"),
        ({"backbone": "auto:somewhere", "map_statistics": {"stride16": ("mean",)}}, "is for the EfficientNet-Lite"),
    ],
)
def test_statistics_that_no_map_keeps_are_refused(vision: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        moment_config(vision=vision)


def test_what_a_single_map_keeps_decides_how_many_pictures_a_moment_needs() -> None:
    vision = {"maps": ("stride16", "stride32"), "statistics": ("mean",)}
    assert moment_config(vision=vision).vision.pictures_needed == 1  # type: ignore[union-attr]
    deep = vision | {"map_statistics": {"stride32": ("swing_mean",)}}
    assert moment_config(vision=deep).vision.pictures_needed == 3  # type: ignore[union-attr]
