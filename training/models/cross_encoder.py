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

    def first_token(self, text_BLD: Tensor, text_bias_B11L: Tensor, vision_BVD: Tensor) -> Tensor:
        """(B, D): the first token of ``forward``. Of the last layer no other is computed, since no other is read."""
        for layer in self.layers[:-1]:
            text_BLD = layer(text_BLD, text_bias_B11L, encoder_hidden_states=vision_BVD)
        layer = self.layers[-1]
        cls_B1D = text_BLD[:, :1]
        own = layer.attention.self
        context_B1D = _attend(own, cls_B1D, text_BLD, text_bias_B11L)
        cls_B1D = layer.attention.output(context_B1D, cls_B1D)
        context_B1D = _attend(layer.crossattention.self, cls_B1D, vision_BVD, None)
        cls_B1D = layer.crossattention.output(context_B1D, cls_B1D)
        return layer.output(layer.intermediate(cls_B1D), cls_B1D)[:, 0]


def _attend(attention: nn.Module, query_BQD: Tensor, keys_BVD: Tensor, bias_B11V: Tensor | None) -> Tensor:
    """(B, Q, D): the library's attention with queries of their own. Its dropout applies in training."""
    heads, size = attention.num_attention_heads, attention.attention_head_size

    def split(values_BVD: Tensor) -> Tensor:
        return values_BVD.unflatten(-1, (heads, size)).transpose(1, 2)

    query, key = split(attention.query(query_BQD)), split(attention.key(keys_BVD))
    scores_BHQV = query @ key.transpose(-1, -2) / size**0.5
    if bias_B11V is not None:
        scores_BHQV = scores_BHQV + bias_B11V
    weights_BHQV = attention.dropout(scores_BHQV.softmax(dim=-1))
    return (weights_BHQV @ split(attention.value(keys_BVD))).transpose(1, 2).flatten(-2)
