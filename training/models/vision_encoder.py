"""uint8 frames -> vision tokens: Swin on each frame, attention over time at each patch position."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import BertConfig, SwinConfig, SwinModel
from transformers.models.bert.modeling_bert import BertLayer

from training.config import VisionConfig

# CLIP's statistics, which X-VLM uses with every backbone (method.md 3.1), on the 0..255 scale.
_MEAN = (0.48145466 * 255, 0.4578275 * 255, 0.40821073 * 255)
_STD = (0.26862954 * 255, 0.26130258 * 255, 0.27577711 * 255)


class VisionEncoder(nn.Module):
    """Frames -> one pooled token, T frame tokens and P patch tokens.

    X2-VLM averages the frames at each patch position, which cannot tell their order. Here each position first
    attends over its T frames, with a learned embedding of the frame's place, so that order matters.
    """

    def __init__(self, config: VisionConfig, frames: int, frame_size: int) -> None:
        super().__init__()
        self.swin = SwinModel(
            SwinConfig(
                image_size=frame_size,
                patch_size=config.patch_size,
                embed_dim=config.embed_dim,
                depths=list(config.depths),
                num_heads=list(config.heads),
                window_size=config.window_size,
                drop_path_rate=config.drop_path,
                attn_implementation="eager",  # the exporter cannot trace Swin's sdpa path
            ),
            add_pooling_layer=False,
        )
        width = config.width
        temporal = BertConfig(
            hidden_size=width,
            num_attention_heads=max(1, width // 32),
            intermediate_size=2 * width,
            hidden_dropout_prob=config.drop_path,
            attention_probs_dropout_prob=config.drop_path,
            attn_implementation="eager",
        )
        self.temporal = nn.ModuleList(BertLayer(temporal) for _ in range(config.temporal_layers))
        self.frame_position = nn.Parameter(torch.zeros(1, frames, 1, width))
        nn.init.trunc_normal_(self.frame_position, std=0.02)
        self.norm = nn.LayerNorm(width)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, frames_BTHWC: Tensor) -> Tensor:
        """Vision tokens.

        Args:
            frames_BTHWC: (B, T, S, S, 3) uint8 RGB.

        Returns:
            tokens_BVD: (B, 1 + T + P, D_v) float; the pooled token first, then the frames in order of time.
        """
        batch, frames, height, width, channels = frames_BTHWC.shape
        pixels_NCHW = frames_BTHWC.reshape(batch * frames, height, width, channels).permute(0, 3, 1, 2).float()
        patches_NPD = self.swin((pixels_NCHW - self.mean) / self.std).last_hidden_state
        _, patches, dim = patches_NPD.shape
        patches_BTPD = patches_NPD.reshape(batch, frames, patches, dim) + self.frame_position
        over_time_MTD = patches_BTPD.permute(0, 2, 1, 3).reshape(batch * patches, frames, dim)
        for layer in self.temporal:
            over_time_MTD = layer(over_time_MTD)
        patches_BPTD = self.norm(over_time_MTD).reshape(batch, patches, frames, dim)
        frame_tokens_BTD = patches_BPTD.mean(dim=1)
        patch_tokens_BPD = patches_BPTD.mean(dim=2)
        pooled_B1D = frame_tokens_BTD.mean(dim=1, keepdim=True)
        return torch.cat([pooled_B1D, frame_tokens_BTD, patch_tokens_BPD], dim=1)
