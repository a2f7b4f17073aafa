"""Gradient checkpointing: activations of a layer are computed again in the backward pass instead of kept."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.swin.modeling_swin import SwinLayer


def checkpoint_layers(model: nn.Module) -> int:
    """Makes every Swin block and BERT layer recompute in training; returns how many there are.

    Dropout is drawn again as it was, so gradients are the same.
    """
    layers = [module for module in model.modules() if isinstance(module, SwinLayer | BertLayer)]
    for layer in layers:
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    return len(layers)
