"""Token ids -> text tokens, through BERT layers that read text alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertEmbeddings, BertLayer

from training.config import TextConfig


def bert_config(config: TextConfig, *, hidden_size: int, cross_attention: bool = False) -> BertConfig:
    """The library's configuration for one kind of layer, attention eager so that it exports."""
    return BertConfig(
        vocab_size=config.vocab_size,
        hidden_size=hidden_size,
        num_attention_heads=config.heads,
        intermediate_size=config.ffn_size,
        max_position_embeddings=config.max_positions,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
        is_decoder=cross_attention,  # the library's condition for cross attention; no causal mask is made here
        add_cross_attention=cross_attention,
        attn_implementation="eager",
    )


def attention_bias(mask_BL: Tensor) -> Tensor:
    """(B, 1, 1, L) float: 0 where attention may look, a large negative number where it may not."""
    return (1.0 - mask_BL[:, None, None, :].float()) * torch.finfo(torch.float32).min


class TextEncoder(nn.Module):
    """Embeddings and the text-only layers."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(bert_config(config, hidden_size=config.embedding_size))
        same = config.embedding_size == config.hidden_size
        self.project = nn.Identity() if same else nn.Linear(config.embedding_size, config.hidden_size)
        layer_config = bert_config(config, hidden_size=config.hidden_size)
        self.layers = nn.ModuleList(BertLayer(layer_config) for _ in range(config.text_layers))

    def forward(self, input_ids_BL: Tensor, bias_B11L: Tensor) -> Tensor:
        """tokens_BLD (B, L, D) float from ids (B, L) int64 and the bias of ``attention_bias``."""
        tokens_BLD = self.project(self.embeddings(input_ids_BL))
        for layer in self.layers:
            tokens_BLD = layer(tokens_BLD, bias_B11L)
        return tokens_BLD
