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
from contract.model_graphs import nearest
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

    Where the preset has close-ups, a moment's statistics are followed by those of the nearest moment that is looked at
    closely. Where no block is trained it stays in evaluation mode, BatchNorm included, so that it is a function of the
    pictures alone and what it gives can be kept.

    Attributes:
        width: F.
        columns: (map, statistic) -> where it stands among the F.
        close_columns: the same of close-ups.
        close_moments: (L,) which of the K moments are looked at closely, ascending; empty without close-ups.
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
        self._moments, self._picture_size = spec.moments, config.picture_size
        self.close_moments: tuple[int, ...] = ()
        self.columns: dict[tuple[str, Statistic], slice] = {}
        self.close_columns: dict[tuple[str, Statistic], slice] = {}
        self.width = 0
        for name in self._maps:
            for kind in config.statistics_of(name):
                self._add_column(self.columns, name, kind)
        if config.close_ups is not None:
            self.close_moments = middles(spec.moments, config.close_ups.moments)
            for name in self._maps:
                for kind in config.close_ups.statistics:
                    self._add_column(self.close_columns, name, kind)
        self._freeze(config.trainable_blocks)

    def _add_column(self, columns: dict[tuple[str, Statistic], slice], name: str, kind: Statistic) -> None:
        channels: int = self.pictures.channels[name]
        columns[name, kind] = slice(self.width, self.width + channels)
        self.width += channels

    def columns_of(self, kinds: Collection[Statistic], *, close: bool = False) -> list[list[int]]:
        """Where the channels of the statistics of these kinds stand among the F, statistic by statistic of each map."""
        columns = self.close_columns if close else self.columns
        return [[*range(span.start, span.stop)] for (_, kind), span in columns.items() if kind in kinds]

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
        moments_BKPHWC = frames_BTHWC.reshape(batch, self._moments, count // self._moments, *frames_BTHWC.shape[2:])
        every_BKF = self.moments(moments_BKPHWC.flatten(0, 1)).unflatten(0, (batch, -1))
        if not self.close_moments:
            return every_BKF
        looked_at = moments_BKPHWC[:, list(self.close_moments)].flatten(0, 1)
        return self.joined(every_BKF, self.close_ups(looked_at).unflatten(0, (batch, -1)))

    def moments(self, moments_MPHWC: Tensor) -> Tensor:
        """(M, F'): what is kept of each of M moments (M, P, S, S, 3) uint8 RGB, whosever they are; F' is F less the
        columns of close-ups."""
        return self._statistics(moments_MPHWC, self.columns, self._picture_size)

    def close_ups(self, moments_MPHWC: Tensor) -> Tensor:
        """(M, F''): what is kept of M moments (M, P, S, S, 3) uint8 RGB that are looked at closely."""
        return self._statistics(moments_MPHWC, self.close_columns, None)

    def joined(self, every_BKF: Tensor, close_BLF: Tensor) -> Tensor:
        """features_BKF (B, K, F): each moment's statistics (B, K, F'), then the nearest close-up's of (B, L, F'')."""
        return torch.cat([every_BKF, close_BLF[:, nearest(self._moments, self.close_moments)]], dim=2)

    def clip(self, moments_KPHWC: Tensor) -> Tensor:
        """features_KF (K, F) of one clip, as ``forward`` has it.

        One moment at a time: its maps then stay in the processor's cache, and it takes a third of the time.
        """
        every_KF = torch.cat([self.moments(moment[None]) for moment in moments_KPHWC])
        if not self.close_moments:
            return every_KF
        close_LF = torch.cat([self.close_ups(moments_KPHWC[k][None]) for k in self.close_moments])
        return self.joined(every_KF[None], close_LF[None])[0]

    def _statistics(
        self, moments_MPHWC: Tensor, columns: Collection[tuple[str, Statistic]], size: int | None
    ) -> Tensor:
        pixels_NCHW = moments_MPHWC.flatten(0, 1).permute(0, 3, 1, 2).float()
        if size is not None:
            pixels_NCHW = F.interpolate(pixels_NCHW, size=(size, size), mode="bilinear", align_corners=False)
        maps = self.pictures(pixels_NCHW, self._maps)
        shaped = {name: found.reshape(*moments_MPHWC.shape[:2], *found.shape[1:]) for name, found in maps.items()}
        return torch.cat([statistic(shaped[name], kind) for name, kind in columns], dim=1)


def middles(count: int, parts: int) -> tuple[int, ...]:
    """The middle one of each of so many equal parts of 0 to count - 1; the later of two."""
    return tuple((2 * part + 1) * count // (2 * parts) for part in range(parts))


def statistic(map_MPCHW: Tensor, kind: Statistic) -> Tensor:
    """(M, C): what ``MomentVisionConfig`` calls by this name, of M moments of P pictures each."""
    if kind in OF_THREE_PICTURES:
        if kind == "swing_smooth":
            map_MPCHW = _smoothed(map_MPCHW)
        first, middle, last = map_MPCHW[:, :-2], map_MPCHW[:, 1:-1], map_MPCHW[:, 2:]
        if kind.startswith("swing"):
            before, after = middle - first, last - middle
            lesser_MPCHW = torch.minimum(before.abs(), after.abs())
            swing_MPCHW = torch.where(before * after < 0, lesser_MPCHW, -lesser_MPCHW)
            pooled_MPC = _top(swing_MPCHW, _TREMOR_SHARE) if kind == "swing" else swing_MPCHW.mean(dim=(-1, -2))
            return pooled_MPC.mean(dim=1)
        second_MPCHW = (first - 2 * middle + last).abs()
        if kind == "tremor":
            return _top(second_MPCHW - (last - first).abs() / 2, _TREMOR_SHARE).mean(dim=1)
        weight_MP1S = second_MPCHW.mean(dim=2, keepdim=True).flatten(3)
        summed_MPC = (middle.flatten(3) * weight_MP1S).sum(dim=-1)
        return (summed_MPC / weight_MP1S.sum(dim=-1).clamp(min=1e-6)).mean(dim=1)
    if kind.startswith("motion"):
        map_MPCHW = (map_MPCHW[:, 1:] - map_MPCHW[:, :-1]).abs()
    if kind == "top":
        return _top(map_MPCHW, _APPEARANCE_SHARE).mean(dim=1)
    pooled_MPC = map_MPCHW.mean(dim=(-1, -2)) if kind.endswith("mean") else map_MPCHW.amax(dim=(-1, -2))
    return pooled_MPC.mean(dim=1)


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
