"""A student over moments that is small enough for tests, with random weights: no package of weights is needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from contract.decision import Modality, TaskKind, TaskSpec
from contract.input_spec import BurstSpec, InputSpec, TextField
from training.config import ModelConfig, MomentVisionConfig, TextConfig
from training.models.moment_xvlm import MomentXVLM

CLIP = TaskSpec(name="clip", kind=TaskKind.BINARY, labels=("no", "yes"), modalities=(Modality.VIDEO,))
TITLE = TaskSpec(name="title", kind=TaskKind.BINARY, labels=("no", "yes"), modalities=(Modality.TEXT,))
BOTH = TaskSpec(name="both", kind=TaskKind.MULTICLASS, labels=("a", "b", "c"), flag_labels=("b", "c"))
TASKS = (CLIP, TITLE, BOTH)
VOCABULARY = 60

SPEC = InputSpec(
    frames=6,
    frame_size=32,
    sampling="bursts",
    burst=BurstSpec(moments=2, pictures=3, step_ms=80),
    text_fields=(TextField(name="title", max_tokens=8),),
)
LONG_BURSTS = SPEC.model_copy(update={"frames": 10, "burst": BurstSpec(moments=2, pictures=5, step_ms=80)})
MIDDLE: dict[str, Any] = {
    "maps": ("stride16_first", "stride16"),
    "middle_maps": ("stride16",),
    "statistics": ("mean", "tremor", "moving"),
    "map_statistics": {"stride16_first": ("motion_mean", "swing_smooth")},
}
"""Of a vision encoder: what is to be seen and what moves, of the middle three pictures; how it moves, of all five."""


def moment_config(*, vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None) -> ModelConfig:
    """EfficientNet-Lite0 on 32 pixels, one layer of everything else."""
    sizes = {"vocab_size": VOCABULARY, "embedding_size": 16, "hidden_size": 16, "heads": 2, "ffn_size": 16}
    layers = {"text_layers": 1, "cross_layers": 1, "max_positions": 16, "ngram_buckets": 64}
    return ModelConfig(
        name="moments-tiny",
        vision=MomentVisionConfig(**{"backbone": "efficientnet_lite0", "width": 16} | (vision or {})),
        text=TextConfig(**sizes | layers | (text or {})),
    )


def moment_model(
    config: ModelConfig | None = None, tasks: tuple[TaskSpec, ...] = TASKS, *, seed: int = 0, spec: InputSpec = SPEC
) -> MomentXVLM:
    """In evaluation mode. Nothing is left at zero, where a wrong path would not show."""
    torch.manual_seed(seed)
    model = MomentXVLM(config or moment_config(), spec, tasks)
    with torch.no_grad():
        for parameter in (*model.heads.parameters(), *model.moment_heads.parameters(), *model.scorers.parameters()):
            nn.init.normal_(parameter, std=0.3)
        if model.ngrams is not None:
            nn.init.normal_(model.ngrams.weights.weight)
    model.eval()
    with torch.no_grad():  # random weights give statistics that hardly differ
        features = model.vision_encoder.trunk(batch_of(8, seed=1, spec=spec)["frames"])
        model.vision_encoder.standardise(features)
        model.vision_encoder.deviation_F.copy_(features.flatten(0, 1).std(dim=0).clamp(min=1e-12))
    return model


def with_lively_trunk(model: MomentXVLM) -> MomentXVLM:
    """The model with a lively trunk."""
    make_lively(model.vision_encoder.trunk)
    return model


def make_lively(backbone: nn.Module) -> None:
    """Draws weights that keep the size of what they read, as trained ones do.

    Else what it gives is so small that any tolerance would swallow it.
    """
    torch.manual_seed(11)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)


def batch_of(size: int, *, seed: int = 0, length: int = 8, spec: InputSpec = SPEC) -> dict[str, Tensor]:
    """Noise: frames and text in every row, texts of different lengths."""
    drawn = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, length + 1, (size,), generator=drawn)
    lengths[0] = length
    return {
        "frames": torch.randint(0, 256, (size, *spec.frames_shape), generator=drawn, dtype=torch.uint8),
        "input_ids": torch.randint(0, VOCABULARY, (size, length), generator=drawn),
        "attention_mask": (torch.arange(length)[None] < lengths[:, None]).long(),
        "video_present": torch.ones(size, dtype=torch.bool),
        "text_present": torch.ones(size, dtype=torch.bool),
    }
