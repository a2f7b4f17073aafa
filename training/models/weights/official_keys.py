"""Names of an official X-VLM or X2-VLM checkpoint -> names of ``XVLM`` (method.md 3.3 and 3.4).

What differs: fused query-key-value of Swin; one BERT there, two encoders here; a ``bert.`` infix that fine-tuned
files lack. X2-VLM's later layout, a ``cross_encoder`` apart, is read too; its BEiT-2 vision tower is not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

Part = Literal["vision", "text"]
SWIN_PREFIX = "vision_encoder.swin."

_BUFFERS = ("relative_position_index", "attn_mask", "position_ids")
"""Follow from the architecture: what a file says of them is dropped."""
_UNUSED = re.compile(
    r"(itm_head|bbox_head|cls_head|mlm_head|vision_proj|text_proj|text_encoder\.cls)\.|temp$|(.+\.)?absolute_frame_pos_embed$"
)
"""Heads of pre-training, heads of somebody's fine-tuning, and a frame embedding that was only ever averaged."""
_BLOCK_PARTS = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_STEM_PARTS = {
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "patch_embed.norm": "embeddings.norm",
    "norm": "layernorm",
}
_BIAS_TABLE = "relative_position_bias_table"


@dataclass
class Translation:
    """A checkpoint under our names.

    Attributes:
        tensors: our name -> tensor.
        origins: our name -> the name it had in the file.
        ignored: names that are of no use here, by design.
        unexpected: names that are not part of X-VLM.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def add(self, name: str, origin: str, tensor: Tensor) -> None:
        """Takes a tensor in; a second one of the same name is unexpected."""
        if name in self.tensors:
            self.unexpected.append(origin)
            return
        self.tensors[name] = tensor
        self.origins[name] = origin


def translate_official(state: Mapping[str, Tensor], *, text_layers: int, parts: Collection[Part]) -> Translation:
    """The checkpoint under our names.

    Args:
        state: the file's.
        text_layers: how many of the file's BERT layers read text alone; the others are cross layers.
        parts: what is wanted; the rest of the file is ignored.
    """
    result = Translation()
    for key, tensor in state.items():
        part: Part = "vision" if key.startswith("vision_encoder.") else "text"
        if key.endswith(_BUFFERS) or _UNUSED.match(key) or (part not in parts and _known_tower(key)):
            result.ignored.append(key)
        elif part == "vision":
            _add_vision(result, key, tensor)
        elif (name := text_name(key, text_layers)) is not None:
            result.add(name, key, tensor)
        else:
            result.unexpected.append(key)
    return result


def text_name(key: str, text_layers: int) -> str | None:
    """Our name for a BERT parameter; None where it is none.

    Args:
        key: ``text_encoder.[bert.]embeddings...``, ``text_encoder.[bert.]encoder.layer...`` or
            ``cross_encoder.[bert.]encoder.layer...``.
        text_layers: as in ``translate_official``.
    """
    tower, _, rest = key.partition(".")
    rest = rest.removeprefix("bert.")
    if tower == "text_encoder" and rest.startswith("embeddings."):
        return f"text_encoder.{rest}"
    match = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", rest)
    if match is None or tower not in ("text_encoder", "cross_encoder"):
        return None
    layer = int(match[1])
    if tower == "text_encoder" and layer < text_layers:
        return f"text_encoder.layers.{layer}.{match[2]}"
    return f"cross_encoder.layers.{layer - text_layers if tower == 'text_encoder' else layer}.{match[2]}"


def _known_tower(key: str) -> bool:
    return key.startswith(("vision_encoder.", "text_encoder.", "cross_encoder."))


def _add_vision(result: Translation, key: str, tensor: Tensor) -> None:
    rest = key.removeprefix("vision_encoder.")
    stem, _, kind = rest.rpartition(".")
    if stem in _STEM_PARTS:
        result.add(f"{SWIN_PREFIX}{_STEM_PARTS[stem]}.{kind}", key, tensor)
        return
    if re.fullmatch(r"layers\.\d+\.downsample\.(norm|reduction)", stem):
        result.add(f"{SWIN_PREFIX}encoder.{rest}", key, tensor)
        return
    match = re.fullmatch(r"(layers\.\d+\.blocks\.\d+)\.(.+)", stem)
    if match is None:
        result.unexpected.append(key)
        return
    block, part = f"{SWIN_PREFIX}encoder.{match[1]}", match[2]
    if part == "attn.qkv" and tensor.shape[0] % 3 == 0:
        for letter, third in zip("qkv", tensor.chunk(3), strict=True):
            result.add(f"{block}.attention.{letter}_proj.{kind}", key, third)
    elif part == "attn" and kind == _BIAS_TABLE:
        result.add(f"{block}.attention.relative_position_bias.{_BIAS_TABLE}", key, tensor)
    elif part in _BLOCK_PARTS:
        result.add(f"{block}.{_BLOCK_PARTS[part]}.{kind}", key, tensor)
    else:
        result.unexpected.append(key)
