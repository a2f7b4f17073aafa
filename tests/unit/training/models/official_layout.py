"""The official X-VLM layout, written down a second time: names, shapes, a way back from ours, a Swin to compare with.

Nothing here reads ``training.models.weights.official_keys``: what both say is what the tests check.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.config import ModelConfig

State = dict[str, Tensor]
TIED = ("text_encoder.cls.predictions.decoder.weight", "text_encoder.cls.predictions.decoder.bias")


def official_shapes(config: ModelConfig, *, heads: bool = True) -> dict[str, tuple[int, ...]]:
    """Parameter -> shape (method.md 3.3); those in ``TIED`` share their storage with another."""
    shapes = _vision_shapes(config) | _text_shapes(config)
    if heads:
        shapes |= _head_shapes(config)
    return shapes


def official_buffers(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Buffers -> shape: an index for each block, a mask for each shifted one but in the last stage, positions."""
    window = config.vision.window_size**2
    found: dict[str, tuple[int, ...]] = {"text_encoder.bert.embeddings.position_ids": (1, config.text.max_positions)}
    for i, depth in enumerate(config.vision.depths):
        for j in range(depth):
            block = f"vision_encoder.layers.{i}.blocks.{j}"
            found[f"{block}.attn.relative_position_index"] = (window, window)
            if j % 2 and i < len(config.vision.depths) - 1:
                found[f"{block}.attn_mask"] = (4, window, window)
    return found


def _pair(name: str, weight: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def _vision_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    v = config.vision
    root = "vision_encoder"
    shapes = _pair(f"{root}.patch_embed.proj", (v.embed_dim, 3, v.patch_size, v.patch_size))
    shapes |= _pair(f"{root}.patch_embed.norm", (v.embed_dim,))
    for i, (depth, heads) in enumerate(zip(v.depths, v.heads, strict=True)):
        d = v.embed_dim * 2**i
        for j in range(depth):
            block = f"{root}.layers.{i}.blocks.{j}"
            shapes |= _pair(f"{block}.norm1", (d,)) | _pair(f"{block}.norm2", (d,))
            shapes |= _pair(f"{block}.attn.qkv", (3 * d, d)) | _pair(f"{block}.attn.proj", (d, d))
            shapes[f"{block}.attn.relative_position_bias_table"] = ((2 * v.window_size - 1) ** 2, heads)
            shapes |= _pair(f"{block}.mlp.fc1", (4 * d, d)) | _pair(f"{block}.mlp.fc2", (d, 4 * d))
        if i < len(v.depths) - 1:
            shapes[f"{root}.layers.{i}.downsample.reduction.weight"] = (2 * d, 4 * d)
            shapes |= _pair(f"{root}.layers.{i}.downsample.norm", (4 * d,))
    return shapes | _pair(f"{root}.norm", (v.width,))


def _text_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    t, d = config.text, config.text.hidden_size
    root = "text_encoder.bert"
    words = {"word": t.vocab_size, "position": t.max_positions, "token_type": 2}
    shapes: dict[str, tuple[int, ...]] = {f"{root}.embeddings.{n}_embeddings.weight": (k, d) for n, k in words.items()}
    shapes |= _pair(f"{root}.embeddings.LayerNorm", (d,))
    for n in range(t.text_layers + t.cross_layers):
        layer = f"{root}.encoder.layer.{n}"
        attentions = {"attention": d} | ({"crossattention": config.vision.width} if n >= t.text_layers else {})
        for name, width in attentions.items():
            shapes |= _pair(f"{layer}.{name}.self.query", (d, d))
            shapes |= _pair(f"{layer}.{name}.self.key", (d, width)) | _pair(f"{layer}.{name}.self.value", (d, width))
            shapes |= _pair(f"{layer}.{name}.output.dense", (d, d)) | _pair(f"{layer}.{name}.output.LayerNorm", (d,))
        shapes |= _pair(f"{layer}.intermediate.dense", (t.ffn_size, d))
        shapes |= _pair(f"{layer}.output.dense", (d, t.ffn_size)) | _pair(f"{layer}.output.LayerNorm", (d,))
    return shapes


def _head_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    d, joint = config.text.hidden_size, 256
    words = config.text.vocab_size
    shapes: dict[str, tuple[int, ...]] = {"temp": (), "text_encoder.cls.predictions.bias": (words,)}
    shapes |= _pair("text_encoder.cls.predictions.decoder", (words, d))
    shapes |= _pair("text_encoder.cls.predictions.transform.dense", (d, d))
    shapes |= _pair("text_encoder.cls.predictions.transform.LayerNorm", (d,))
    shapes |= _pair("vision_proj", (joint, config.vision.width)) | _pair("text_proj", (joint, d))
    for name, outputs in {"itm_head": 2, "bbox_head": 4}.items():
        shapes |= _pair(f"{name}.0", (2 * d, d)) | _pair(f"{name}.1", (2 * d,)) | _pair(f"{name}.3", (outputs, 2 * d))
    return shapes


def to_official(state: State, config: ModelConfig) -> State:
    """Weights of an ``XVLM`` as an official pre-trained file would hold them, buffers and heads included."""
    official: State = {}
    for name in official_shapes(config, heads=False):
        if ".qkv." in name:
            official[name] = torch.cat([state[_ours(name, config).replace("qkv", f"{x}_proj")] for x in "qkv"])
        else:
            official[name] = state[_ours(name, config)]
    extras = _head_shapes(config) | official_buffers(config)
    return official | {name: torch.zeros(shape) for name, shape in extras.items()}


def _ours(name: str, config: ModelConfig) -> str:
    if name.startswith("text_encoder"):
        if "embeddings" in name:
            return name.replace("bert.", "")
        head, number, tail = name.partition(".layer.")[0], *name.partition(".layer.")[2].split(".", 1)
        assert head == "text_encoder.bert.encoder"
        n, first = int(number), config.text.text_layers
        return f"text_encoder.layers.{n}.{tail}" if n < first else f"cross_encoder.layers.{n - first}.{tail}"
    for old, new in (
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("patch_embed.norm", "embeddings.norm"),
        ("vision_encoder.norm", "vision_encoder.layernorm"),
        ("norm1", "layernorm_before"),
        ("norm2", "layernorm_after"),
        ("attn.proj", "attention.o_proj"),
        ("attn.qkv", "attention.qkv"),
        ("attn.relative", "attention.relative_position_bias.relative"),
        ("vision_encoder.layers", "vision_encoder.encoder.layers"),
    ):
        name = name.replace(old, new)
    return name.replace("vision_encoder.", "vision_encoder.swin.")


def reference_swin(state: State, pixels_NCHW: Tensor, config: ModelConfig) -> Tensor:
    """Swin (arXiv:2103.14030) straight from an official state: patches (N, P, D), without dropout."""
    v = config.vision
    root = "vision_encoder"
    x = F.conv2d(pixels_NCHW, *_weights(state, f"{root}.patch_embed.proj"), stride=v.patch_size)
    x = _norm(state, f"{root}.patch_embed.norm", x.permute(0, 2, 3, 1))
    for i, (depth, heads) in enumerate(zip(v.depths, v.heads, strict=True)):
        for j in range(depth):
            shift = v.window_size // 2 if j % 2 and x.shape[1] > v.window_size else 0
            x = _block(state, f"{root}.layers.{i}.blocks.{j}", x, heads, v.window_size, shift)
        if i < len(v.depths) - 1:
            corners = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
            merged = _norm(state, f"{root}.layers.{i}.downsample.norm", torch.cat(corners, -1))
            x = merged @ state[f"{root}.layers.{i}.downsample.reduction.weight"].T
    return _norm(state, f"{root}.norm", x).flatten(1, 2)


def _weights(state: State, name: str) -> tuple[Tensor, Tensor]:
    return state[f"{name}.weight"], state[f"{name}.bias"]


def _norm(state: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], *_weights(state, name), eps=1e-5)


def _block(state: State, name: str, x: Tensor, heads: int, window: int, shift: int) -> Tensor:
    """One block, token by token: each attends to the tokens of its own (shifted) window and region."""
    batch, height, width, dim = x.shape
    y, flat = _norm(state, f"{name}.norm1", x).flatten(1, 2), height * width
    q, k, u = F.linear(y, *_weights(state, f"{name}.attn.qkv")).reshape(batch, flat, 3, heads, -1).unbind(2)
    rows, cols = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    # Windows start at shift; what lies before the first one is a window of its own, cut off by the border.
    cell = (rows - shift).div(window, rounding_mode="floor") * 1000 + (cols - shift).div(window, rounding_mode="floor")
    together = cell.flatten()[:, None] == cell.flatten()[None, :]
    down = (rows.flatten()[:, None] - rows.flatten()[None, :]).clamp(1 - window, window - 1) + window - 1
    right = (cols.flatten()[:, None] - cols.flatten()[None, :]).clamp(1 - window, window - 1) + window - 1
    bias = state[f"{name}.attn.relative_position_bias_table"][down * (2 * window - 1) + right].permute(2, 0, 1)
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * (dim // heads) ** -0.5 + bias
    mixed = torch.einsum("bhqk,bkhd->bqhd", scores.masked_fill(~together, float("-inf")).softmax(-1), u)
    x = x + F.linear(mixed.reshape(batch, flat, dim), *_weights(state, f"{name}.attn.proj")).view_as(x)
    hidden = F.gelu(F.linear(_norm(state, f"{name}.norm2", x), *_weights(state, f"{name}.mlp.fc1")))
    return x + F.linear(hidden, *_weights(state, f"{name}.mlp.fc2"))
