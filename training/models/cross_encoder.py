"""Text tokens that attend to vision tokens: self-attention, cross attention, feed-forward in each layer."""

from __future__ import annotations

from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertLayer

from training.config import TextConfig
from training.models.text_encoder import bert_config


class CrossEncoder(nn.Module):
    """X-VLM's fusion layers. Keys and values come straight from the vision width (method.md 3.1)."""

    def __init__(self, config: TextConfig, vision_width: int) -> None:
        super().__init__()
        layer_config = bert_config(config, hidden_size=config.hidden_size, cross_attention=True)
        self.layers = nn.ModuleList(BertLayer(layer_config) for _ in range(config.cross_layers))
        for layer in self.layers:
            attention = layer.crossattention.self
            attention.key = nn.Linear(vision_width, attention.all_head_size)
            attention.value = nn.Linear(vision_width, attention.all_head_size)

    def forward(self, text_BLD: Tensor, text_bias_B11L: Tensor, vision_BVD: Tensor) -> Tensor:
        """fused_BLD (B, L, D) float; every vision token may be attended to."""
        for layer in self.layers:
            text_BLD = layer(text_BLD, text_bias_B11L, encoder_hidden_states=vision_BVD)
        return text_BLD
