"""Frozen models of ``configs/*.yaml``. What changes predictions is here, and hashed into every artefact."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from contract.frozen import FrozenDocument
from contract.input_spec import InputSpec


class ConfigError(Exception):
    """A configuration file that cannot be used. The message names the file and the field."""


class VisionConfig(FrozenDocument):
    """Swin per frame (arXiv:2103.14030), then attention over time."""

    embed_dim: int = Field(ge=8)
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    patch_size: int = 4
    window_size: int = 7
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    temporal_layers: int = Field(default=1, ge=0)
    """Layers of attention over the frames at each patch position; 0 leaves X2-VLM's order-blind mean."""

    @model_validator(mode="after")
    def _stages_match(self) -> VisionConfig:
        if len(self.depths) != len(self.heads):
            raise ValueError("depths and heads must have one entry for each stage")
        return self

    @property
    def width(self) -> int:
        """D_v: the width of a vision token."""
        return int(self.embed_dim * 2 ** (len(self.depths) - 1))

    def patches(self, frame_size: int) -> int:
        """P: patches of a frame of so many pixels a side that the last stage gives.

        Raises:
            ValueError: the stages do not divide the frame evenly.
        """
        stride = self.patch_size * 2 ** (len(self.depths) - 1)
        if frame_size % stride:
            raise ValueError(f"frame_size must be a multiple of {stride}, the vision encoder's total stride")
        return (frame_size // stride) ** 2


class TextConfig(FrozenDocument):
    """A BERT whose first layers read text alone and whose last layers cross-attend to vision tokens."""

    vocab_size: int = Field(default=30522, ge=3)
    embedding_size: int = Field(ge=8)
    """Width of the word embeddings; projected to ``hidden_size`` where it differs (as ELECTRA does)."""
    hidden_size: int = Field(ge=8)
    heads: int = Field(ge=1)
    ffn_size: int = Field(ge=8)
    text_layers: int = Field(ge=0)
    cross_layers: int = Field(ge=1)
    max_positions: int = Field(default=512, ge=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class ModelConfig(FrozenDocument):
    """The student's and the baseline's architecture; the teacher adds ``TeacherConfig``."""

    name: str
    vision: VisionConfig
    text: TextConfig


class TeacherConfig(FrozenDocument):
    """How DF-X-VLM reads the privileged features (method note 1.7)."""

    fusion: Literal["gated_residual", "tokens"] = "gated_residual"
    hidden_size: int = Field(default=128, ge=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class OptimiserConfig(FrozenDocument):
    """AdamW with linear warm-up and decay."""

    lr: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    clip_norm: float = Field(default=1.0, gt=0)
    epochs: int = Field(default=8, ge=1)
    video_batch: int = Field(default=16, ge=1)
    text_batch: int = Field(default=64, ge=1)
    video_repeat: int = Field(default=1, ge=1)
    """How many times an epoch goes through the rows that hold a clip."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """``bf16`` computes under autocast; weights and losses stay fp32."""
    pair_probability: float = Field(default=0.5, ge=0, le=1)
    """Share of clips without text that get the text of a random other training row, with that row's labels and
    soft targets: served requests hold both, training rows seldom do. The draw knows no label."""
    task_weights: dict[str, float] = Field(default_factory=dict)


class DistillationConfig(FrozenDocument):
    """L = (1 - lambda) mean CE_i + lambda mean c_i KD_i (method note 1.5)."""

    lam: float = Field(default=0.5, ge=0, le=1)
    temperature: float = Field(default=2.0, gt=0)
    """T: both logits are divided by it in the distillation term, which is multiplied by T^2."""
    confidence: str = "true_prob"
    weighting: str = "scale"


class RunConfig(FrozenDocument):
    """Everything that decides what a run will predict, the data apart."""

    input_spec: InputSpec = InputSpec()
    model: ModelConfig
    teacher: TeacherConfig = TeacherConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    distillation: DistillationConfig = DistillationConfig()

    @model_validator(mode="after")
    def _sizes_fit(self) -> RunConfig:
        if self.input_spec.max_text_tokens > self.model.text.max_positions:
            raise ValueError("input_spec reads more tokens than model.text.max_positions")
        self.model.vision.patches(self.input_spec.frame_size)
        return self


def read_config(path: Path) -> RunConfig:
    """The run configuration in a YAML file.

    Raises:
        ConfigError: the file is missing, not YAML, or has a wrong or unknown field.
    """
    try:
        document = yaml.safe_load(path.read_text())
        return RunConfig.model_validate(document)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"{path}: {faults}") from error
