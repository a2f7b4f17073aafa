"""uint8 frames -> statistics of each moment, through a pretrained image backbone."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig

from contract.input_spec import InputSpec
from training.config import MomentVisionConfig, Statistic
from training.models.efficientnet_lite import EfficientNetLite

AUTO_PREFIX = "auto:"
AUTO_MAP = "last"
_TOP_SHARE = 0.1
"""Of the places of a map: those where it trembles most."""
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
        columns: (map, statistic) -> where it stands among the F.
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
        channels: dict[str, int] = self.pictures.channels
        self.columns: dict[tuple[str, Statistic], slice] = {}
        self.width = 0
        for name in self._maps:
            for kind in config.statistics:
                size = 1 if kind == "tremor" else channels[name]
                self.columns[name, kind] = slice(self.width, self.width + size)
                self.width += size
        self._freeze(config.trainable_blocks)

    def columns_of(self, kinds: Collection[Statistic]) -> list[int]:
        """Where the statistics of these kinds stand among the F."""
        return [i for (_, kind), span in self.columns.items() if kind in kinds for i in range(span.start, span.stop)]

    def _freeze(self, trainable_blocks: int) -> None:
        for parameter in self.pictures.parameters():
            parameter.requires_grad_(False)
        self.trained: list[nn.Module] = []
        if trainable_blocks == 0:
            return
        if not isinstance(self.pictures, EfficientNetLite):
            raise ValueError("trainable_blocks is for the EfficientNet-Lite backbones")
        # In a list, not a module list: they are owned, and named, by the backbone.
        self.trained = [*self.pictures._blocks[-trainable_blocks:]]
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
        pixels_NCHW = frames_BTHWC.flatten(0, 1).permute(0, 3, 1, 2).float()
        maps = self.pictures(pixels_NCHW, self._maps)
        per_moment = count // self._moments
        shaped = {n: m.reshape(batch * self._moments, per_moment, *m.shape[1:]) for n, m in maps.items()}
        found = [statistic(shaped[name], kind) for name, kind in self.columns]
        return torch.cat(found, dim=1).reshape(batch, self._moments, -1)


def statistic(map_MPCHW: Tensor, kind: Statistic) -> Tensor:
    """(M, C), or (M, 1) of ``tremor``: what ``MomentVisionConfig`` calls by this name, of M moments of P pictures."""
    if kind.startswith("tremor"):
        return _tremor(map_MPCHW, by_channel=kind == "tremor_map")
    if kind.startswith("motion"):
        map_MPCHW = (map_MPCHW[:, 1:] - map_MPCHW[:, :-1]).abs()
    pooled_MPC = map_MPCHW.mean(dim=(-1, -2)) if kind.endswith("mean") else map_MPCHW.amax(dim=(-1, -2))
    return pooled_MPC.mean(dim=1)


def _tremor(map_MPCHW: Tensor, *, by_channel: bool) -> Tensor:
    first, middle, last = map_MPCHW[:, :-2], map_MPCHW[:, 1:-1], map_MPCHW[:, 2:]
    to_and_fro = ((first - 2 * middle + last).abs() - (last - first).abs() / 2).mean(dim=1)
    places_MCP = to_and_fro.flatten(2) if by_channel else to_and_fro.mean(dim=1, keepdim=True).flatten(2)
    top = max(1, round(_TOP_SHARE * places_MCP.shape[-1]))
    return places_MCP.topk(top, dim=-1).values.mean(dim=-1)


def _normalisation(source: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of pixels in 0..1 that the folder's processor names; ImageNet's where it has none."""
    path = Path(source) / "preprocessor_config.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return tuple(found.get("image_mean", _IMAGENET_MEAN)), tuple(found.get("image_std", _IMAGENET_STD))
