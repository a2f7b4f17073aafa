"""uint8 frames -> statistics of each moment, through a pretrained image backbone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig

from contract.input_spec import InputSpec
from training.config import MomentVisionConfig, Statistic
from training.models.efficientnet_lite import EfficientNetLite

AUTO_PREFIX = "auto:"
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
        self.channels = (int(self.backbone.channels[-1]),)
        mean, std = _normalisation(source)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, pixels_NCHW: Tensor) -> tuple[Tensor, ...]:
        """One map (N, C, h, w) from (N, 3, H, W) float RGB in 0..255."""
        maps = self.backbone((pixels_NCHW - self.mean) / self.std).feature_maps
        return (maps[-1],)


class VisionTrunk(nn.Module):
    """Pictures -> K moments of F statistics each.

    Where no block is trained it stays in evaluation mode, BatchNorm included, so that it is a function of the pictures
    alone and what it gives can be kept.

    Attributes:
        width: F.
    """

    def __init__(self, config: MomentVisionConfig, spec: InputSpec) -> None:
        super().__init__()
        self.pictures: nn.Module
        if config.backbone.startswith(AUTO_PREFIX):
            self.pictures = AutoPictures(config.backbone.removeprefix(AUTO_PREFIX))
            self._chosen: tuple[int, ...] = (0,)
        else:
            self.pictures = EfficientNetLite(config.backbone.removeprefix("efficientnet_"))
            self._chosen = tuple(("stride16", "stride32").index(name) for name in config.maps)
        self._statistics = config.statistics
        self._moments = spec.moments
        channels: tuple[int, ...] = self.pictures.channels
        self.width = len(config.statistics) * sum(channels[i] for i in self._chosen)
        self._freeze(config.trainable_blocks)

    def _freeze(self, trainable_blocks: int) -> None:
        for parameter in self.pictures.parameters():
            parameter.requires_grad_(False)
        self.trained: list[nn.Module] = []
        if trainable_blocks == 0:
            return
        if not isinstance(self.pictures, EfficientNetLite):
            raise ValueError("trainable_blocks is for the EfficientNet-Lite backbones")
        # In a list, not a module list: they are owned, and named, by the backbone.
        self.trained = [*self.pictures._blocks[-trainable_blocks:], self.pictures._conv_head, self.pictures._bn1]
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
        maps = self.pictures(pixels_NCHW)
        per_moment = count // self._moments
        shaped = [maps[i].reshape(batch * self._moments, per_moment, *maps[i].shape[1:]) for i in self._chosen]
        found = [statistic(map_MPCHW, name) for map_MPCHW in shaped for name in self._statistics]
        return torch.cat(found, dim=1).reshape(batch, self._moments, -1)


def statistic(map_MPCHW: Tensor, name: Statistic) -> Tensor:
    """(M, C) of M moments: the mean or maximum over places, of pictures or of neighbouring pictures' differences."""
    if name.startswith("motion"):
        map_MPCHW = (map_MPCHW[:, 1:] - map_MPCHW[:, :-1]).abs()
    pooled_MPC = map_MPCHW.mean(dim=(-1, -2)) if name.endswith("mean") else map_MPCHW.amax(dim=(-1, -2))
    return pooled_MPC.mean(dim=1)


def _normalisation(source: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of pixels in 0..1 that the folder's processor names; ImageNet's where it has none."""
    path = Path(source) / "preprocessor_config.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return tuple(found.get("image_mean", _IMAGENET_MEAN)), tuple(found.get("image_std", _IMAGENET_STD))
