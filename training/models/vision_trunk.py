"""uint8 frames -> statistics of each moment, through a pretrained image backbone."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig

from contract.input_spec import InputSpec
from training.config import AUTO_PREFIX, OF_THREE_PICTURES, MomentVisionConfig, Statistic
from training.models.efficientnet_lite import EfficientNetLite

AUTO_MAP = "last"
_TREMOR_SHARE, _APPEARANCE_SHARE = 0.1, 0.05
"""Of the places of a map."""
_SMOOTHED_SIDE = 3
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class AutoPictures(nn.Module):
    """Any backbone of the library: pixels -> its last feature map, normalised as its own processor says.

    Args:
        source: a folder or an id on the hub with a ``config.json``; its weights are not read here.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        config = AutoConfig.from_pretrained(source, local_files_only=Path(source).exists())
        config._attn_implementation = "eager"  # what the exporter can trace
        self.backbone = AutoBackbone.from_config(config)
        self.channels = {AUTO_MAP: int(self.backbone.channels[-1])}
        mean, std = _normalisation(source)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, pixels_NCHW: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """One map (N, C, h, w) from (N, 3, H, W) float RGB in 0..255, whatever the names."""
        return {AUTO_MAP: self.backbone((pixels_NCHW - self.mean) / self.std).feature_maps[-1]}


class VisionTrunk(nn.Module):
    """Pictures -> K moments of F statistics each.

    Where no block is trained it stays in evaluation mode, BatchNorm included, so that it is a function of the pictures
    alone and what it gives can be kept.

    Attributes:
        width: F.
        columns: (map, statistic) -> where it stands among the F: its channels, as often as the moment has it.
    """

    def __init__(self, config: MomentVisionConfig, spec: InputSpec) -> None:
        super().__init__()
        self.pictures: nn.Module
        if config.backbone.startswith(AUTO_PREFIX):
            self.pictures = AutoPictures(config.backbone.removeprefix(AUTO_PREFIX))
            self._maps: tuple[str, ...] = (AUTO_MAP,)
        else:
            self.pictures = EfficientNetLite(config.backbone.removeprefix("efficientnet_"))
            self._maps = config.maps
        self._moments = spec.moments
        self._middle_maps = config.middle_maps
        channels: dict[str, int] = self.pictures.channels
        self.columns: dict[tuple[str, Statistic], list[range]] = {}
        self.width = 0
        for name in self._maps:
            for kind in config.statistics_of(name):
                often = kind in OF_THREE_PICTURES and name not in config.middle_maps
                times = spec.frames // spec.moments - 2 if often else 1
                starts = range(self.width, self.width + times * channels[name], channels[name])
                self.columns[name, kind] = [range(start, start + channels[name]) for start in starts]
                self.width = starts.stop
        self._freeze(config.trainable_blocks)

    def columns_of(self, kinds: Collection[Statistic]) -> list[list[range]]:
        """Where the statistics of these kinds stand among the F: statistic by statistic of each map, time by time."""
        return [times for (_, kind), times in self.columns.items() if kind in kinds]

    def _freeze(self, trainable_blocks: int) -> None:
        for parameter in self.pictures.parameters():
            parameter.requires_grad_(False)
        self.trained: list[nn.Module] = []
        if trainable_blocks == 0:
            return
        if not isinstance(self.pictures, EfficientNetLite):
            raise ValueError("trainable_blocks is for the EfficientNet-Lite backbones")
        # In a list, not a module list: they are owned, and named, by the backbone.
        self.trained = [*self.pictures._blocks[: self.pictures.needed(self._maps)][-trainable_blocks:]]
        if "head" in self._maps:
            self.trained += [self.pictures._conv_head, self.pictures._bn1]
        for module in self.trained:
            for parameter in module.parameters():
                parameter.requires_grad_(True)

    @property
    def frozen(self) -> bool:
        return not self.trained

    def train(self, mode: bool = True) -> VisionTrunk:
        """Statistics of BatchNorm are never trained: the batches of small data are too unlike each other."""
        super().train(False)
        self.training = mode
        return self

    def forward(self, frames_BTHWC: Tensor) -> Tensor:
        """features_BKF (B, K, F) float from frames (B, T, S, S, 3) uint8 RGB."""
        batch, count = frames_BTHWC.shape[:2]
        moments_MPHWC = frames_BTHWC.reshape(batch * self._moments, count // self._moments, *frames_BTHWC.shape[2:])
        return self.moments(moments_MPHWC).reshape(batch, self._moments, -1)

    def moments(self, moments_MPHWC: Tensor) -> Tensor:
        """features_MF (M, F) float of M moments (M, P, S, S, 3) uint8 RGB, whosever they are."""
        pixels_NCHW = moments_MPHWC.flatten(0, 1).permute(0, 3, 1, 2).float()
        if self._middle_maps:
            each = moments_MPHWC.shape[1]
            maps = self.pictures(pixels_NCHW, self._maps, of_middle=self._middle_maps, each=each)
        else:
            maps = self.pictures(pixels_NCHW, self._maps)
        shaped = {name: found.unflatten(0, (moments_MPHWC.shape[0], -1)) for name, found in maps.items()}
        return torch.cat([statistic(shaped[name], kind).flatten(1) for name, kind in self.columns], dim=1)


def statistic(map_MPCHW: Tensor, kind: Statistic) -> Tensor:
    """(M, J, C): what ``MomentVisionConfig`` calls by this name, of M moments of P pictures each.

    J is P - 2 of what takes three pictures, and 1 of all else.
    """
    if kind in OF_THREE_PICTURES:
        if kind == "swing_smooth":
            map_MPCHW = _smoothed(map_MPCHW)
        first, middle, last = map_MPCHW[:, :-2], map_MPCHW[:, 1:-1], map_MPCHW[:, 2:]
        if kind.startswith("swing"):
            before, after = middle - first, last - middle
            lesser_MPCHW = torch.minimum(before.abs(), after.abs())
            swing_MPCHW = torch.where(before * after < 0, lesser_MPCHW, -lesser_MPCHW)
            return _top(swing_MPCHW, _TREMOR_SHARE) if kind == "swing" else swing_MPCHW.mean(dim=(-1, -2))
        second_MPCHW = (first - 2 * middle + last).abs()
        if kind == "tremor":
            return _top(second_MPCHW - (last - first).abs() / 2, _TREMOR_SHARE)
        weight_MP1S = second_MPCHW.mean(dim=2, keepdim=True).flatten(3)
        summed_MPC = (middle.flatten(3) * weight_MP1S).sum(dim=-1)
        return summed_MPC / weight_MP1S.sum(dim=-1).clamp(min=1e-6)
    if kind.startswith("motion"):
        map_MPCHW = (map_MPCHW[:, 1:] - map_MPCHW[:, :-1]).abs()
    if kind == "top":
        return _top(map_MPCHW, _APPEARANCE_SHARE).mean(dim=1, keepdim=True)
    pooled_MPC = map_MPCHW.mean(dim=(-1, -2)) if kind.endswith("mean") else map_MPCHW.amax(dim=(-1, -2))
    return pooled_MPC.mean(dim=1, keepdim=True)


def _smoothed(map_MPCHW: Tensor) -> Tensor:
    """(M, P, C, H - 2, W - 2): the mean of each place and its neighbours; a smaller map's mean, where it has no such
    place."""
    sides = [min(_SMOOTHED_SIDE, side) for side in map_MPCHW.shape[-2:]]
    return F.avg_pool2d(map_MPCHW.flatten(0, 1), sides, stride=1).unflatten(0, map_MPCHW.shape[:2])


def _top(map_MPCHW: Tensor, share: float) -> Tensor:
    """(M, P, C): the mean of each channel over the share of places where it is greatest."""
    places_MPCS = map_MPCHW.flatten(3)
    count = max(1, round(share * places_MPCS.shape[-1]))
    return places_MPCS.topk(count, dim=-1).values.mean(dim=-1)


def _normalisation(source: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of pixels in 0..1 that the folder's processor names; ImageNet's where it has none."""
    path = Path(source) / "preprocessor_config.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return tuple(found.get("image_mean", _IMAGENET_MEAN)), tuple(found.get("image_std", _IMAGENET_STD))
