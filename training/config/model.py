"""The architecture of students, baselines and teachers."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from contract.frozen import FrozenDocument, GrowingDocument
from contract.input_spec import InputSpec
from training.config.vision_model import MomentVisionConfig, VisionConfig


class TextConfig(GrowingDocument):
    """A BERT whose first layers read text alone and whose last layers cross-attend to vision tokens."""

    first_fields: ClassVar = frozenset(
        {"vocab_size", "embedding_size", "hidden_size", "heads", "ffn_size", "text_layers", "cross_layers"}
        | {"max_positions", "dropout"}
    )

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
    frozen: bool = False
    """Whether embeddings and text layers keep the weights they start from; what they give is then kept in memory."""
    trim_vocabulary: bool = False
    """Whether a vocabulary of more pieces than ``vocab_size`` is cut to those that training texts use most."""
    ngram_buckets: int = Field(default=0, ge=0)
    """Of the hashed path: words and pairs of words of a text, hashed into so many buckets, each with a weight for every
    task. 0 leaves it out."""
    ngram_weighting: Literal["count", "tfidf"] = "count"
    """What a word or pair counts for in that path: as much as any other, or by tf-idf, its length made 1: what most
    training texts hold tells little. The frequencies are those of training rows, and part of the weights."""
    alone: Literal["attended", "pooled"] = "attended"
    """How tasks of texts alone read them: [CLS] of the cross encoder, through a head of two layers; or one linear
    layer on the mean of the frozen layers' tokens, each of its values standardised. With some thousand texts of some
    hundred authors the former learns the authors."""

    @model_validator(mode="after")
    def _pooled_is_frozen(self) -> TextConfig:
        if self.alone == "pooled" and not self.frozen:
            raise ValueError("text.alone pooled needs text.frozen: its means and deviations are of the frozen layers")
        if self.ngram_weighting != "count" and not self.ngram_buckets:
            raise ValueError("text.ngram_weighting needs text.ngram_buckets")
        return self


class ModelConfig(FrozenDocument):
    """The student's and the baseline's architecture; the teacher adds ``TeacherConfig``."""

    name: str
    vision: VisionConfig | MomentVisionConfig
    text: TextConfig

    @model_validator(mode="after")
    def _widths_fit(self) -> ModelConfig:
        if isinstance(self.vision, MomentVisionConfig) and self.vision.width != self.text.hidden_size:
            raise ValueError("vision.width must be text.hidden_size")
        if not isinstance(self.vision, MomentVisionConfig) and (self.text.frozen or self.text.ngram_buckets):
            raise ValueError("text.frozen and text.ngram_buckets need a vision.backbone")
        return self

    def check_input(self, spec: InputSpec) -> None:
        """Raises ValueError where the encoders cannot read what the spec gives."""
        if spec.max_text_tokens > self.text.max_positions:
            raise ValueError("input_spec reads more tokens than text.max_positions")
        if isinstance(self.vision, VisionConfig):
            self.vision.check_windows(spec.frame_size)
        elif self.vision.pictures_needed > (1 if spec.burst is None else spec.burst.pictures):
            raise ValueError(
                f"vision.statistics need input_spec.burst of {self.vision.pictures_needed} pictures or more"
            )


FusionName = Literal["gated_residual", "tokens", "concat", "film"]


class TeacherConfig(GrowingDocument):
    """How DF-X-VLM reads the privileged features (method.md 1.7)."""

    first_fields: ClassVar = frozenset({"fusion", "hidden_size", "dropout"})

    fusion: FusionName = "gated_residual"
    """Groups join [CLS] as a gated residual, as tokens it attends to, concatenated, or as its scale and shift."""
    hidden_size: int = Field(default=128, ge=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    cross_fit_folds: int = Field(default=2, ge=2)
    """Into how many parts the training rows are split for the cross-fitted teacher: as many more teachers."""
    drop_top: int = Field(default=0, ge=0)
    """How many privileged features are dropped: those that alone predict each flag best on training rows, because a
    feature that is the label in disguise leaves nothing to distil."""
