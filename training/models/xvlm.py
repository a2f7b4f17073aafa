"""X-VLM for classification: the student and the baseline. It has no way to see a privileged feature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contract.decision import TaskSpec
from contract.input_spec import InputSpec
from training.config import ModelConfig, VisionConfig
from training.models.cross_encoder import CrossEncoder
from training.models.text_encoder import TextEncoder, attention_bias
from training.models.vision_encoder import VisionEncoder


def classification_head(width: int, outputs: int) -> nn.Sequential:
    """Linear, LayerNorm, GELU, Linear: the head of X-VLM's classifiers (method.md 3.2)."""
    return nn.Sequential(nn.Linear(width, 2 * width), nn.LayerNorm(2 * width), nn.GELU(), nn.Linear(2 * width, outputs))


class XVLM(nn.Module):
    """Frames and text in, one set of logits for each task out.

    Missing modalities are learned: where there is no clip, the cross encoder attends to a ``no_video`` token in
    place of vision tokens; where there is no text, ``no_text`` is added to [CLS]. What is represented is the
    fused [CLS] plus, where there is a clip, the projected pooled vision token (X2-VLM's image-only path).
    """

    def __init__(self, config: ModelConfig, spec: InputSpec, tasks: Sequence[TaskSpec]) -> None:
        super().__init__()
        hidden = config.text.hidden_size
        assert isinstance(config.vision, VisionConfig)
        self.vision_encoder = VisionEncoder(config.vision, spec.frames, spec.frame_size)
        self.text_encoder = TextEncoder(config.text)
        self.cross_encoder = CrossEncoder(config.text, config.vision.width)
        self.pooled_projection = nn.Linear(config.vision.width, hidden)
        self.no_video = nn.Parameter(torch.zeros(1, 1, config.vision.width))
        self.no_text = nn.Parameter(torch.zeros(1, 1, hidden))
        self.heads = nn.ModuleDict({t.name: classification_head(hidden, t.logits_width) for t in tasks})
        self.task_names = tuple(t.name for t in tasks)
        self.vision_tokens = 1 + spec.frames + config.vision.patches(spec.frame_size)
        for module in (self.pooled_projection, self.heads, self.text_encoder, self.cross_encoder):
            module.apply(initialise)
        nn.init.trunc_normal_(self.no_video, std=0.02)
        nn.init.trunc_normal_(self.no_text, std=0.02)

    def encode(
        self,
        frames: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        video_present: Tensor,
        text_present: Tensor,
        extra_tokens_BGD: Tensor | None = None,
    ) -> Tensor:
        """represented_BD (B, D): what the heads read. Arguments as in ``forward``.

        Args:
            extra_tokens_BGD: more tokens (B, G, D_v) to attend to; only a teacher has any.
        """
        vision_BVD = self._vision(frames, video_present)
        pooled_BD = self.pooled_projection(vision_BVD[:, 0]) * video_present[:, None].float()
        bias_B11L = attention_bias(attention_mask)
        text_BLD = self.text_encoder(input_ids, bias_B11L)
        absent_B1 = 1.0 - text_present[:, None].float()
        cls_B1D = text_BLD[:, :1] + self.no_text * absent_B1[:, :, None]
        text_BLD = torch.cat([cls_B1D, text_BLD[:, 1:]], dim=1)
        if extra_tokens_BGD is not None:
            vision_BVD = torch.cat([vision_BVD, extra_tokens_BGD], dim=1)
        fused_BLD = self.cross_encoder(text_BLD, bias_B11L, vision_BVD)
        return fused_BLD[:, 0] + pooled_BD

    def forward(
        self, frames: Tensor, input_ids: Tensor, attention_mask: Tensor, video_present: Tensor, text_present: Tensor
    ) -> dict[str, Tensor]:
        """Logits of every task.

        Args:
            frames: (B, T, S, S, 3) uint8 RGB; anything where ``video_present`` is False.
            input_ids: (B, L) int64.
            attention_mask: (B, L) int64, 1 on tokens.
            video_present: (B,) bool.
            text_present: (B,) bool.

        Returns:
            task name -> (B, K) float logits.
        """
        represented_BD = self.encode(frames, input_ids, attention_mask, video_present, text_present)
        return self.classify(represented_BD)

    def logits(self, represented_BD: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """As ``classify``: nothing but what ``encode`` returned is read."""
        return self.classify(represented_BD)

    def classify(self, represented_BD: Tensor) -> dict[str, Tensor]:
        """Task name -> (B, K) logits of what ``encode`` returned."""
        return {name: self.heads[name](represented_BD) for name in self.task_names}

    def classifiers(self) -> dict[str, Tensor]:
        """Task name -> (K, E + 1): weights and bias [W; b] of the last layer of each head."""
        layers = {name: self.heads[name][-1] for name in self.task_names}
        return {name: torch.cat([layer.weight, layer.bias[:, None]], dim=1) for name, layer in layers.items()}

    def _vision(self, frames: Tensor, video_present: Tensor) -> Tensor:
        no_video_BVD = self.no_video.expand(frames.shape[0], self.vision_tokens, -1)
        if not torch.compiler.is_exporting() and not bool(video_present.any()):
            return no_video_BVD  # a batch of text alone: do not pay for encoding nothing
        return torch.where(video_present[:, None, None], self.vision_encoder(frames), no_video_BVD)


def initialise(module: nn.Module) -> None:
    """BERT's initialisation for the layers that the library did not initialise as part of a model."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
