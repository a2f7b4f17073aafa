"""How a model is trained."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from contract.frozen import FrozenDocument, GrowingDocument


class AugmentationConfig(FrozenDocument):
    """How training clips are changed. 0 or false leaves a change out."""

    flip: bool = True
    """Exchange left and right in half of the clips. Off where any task asks about direction or reads writing."""
    shift: float = Field(default=0.1, ge=0, lt=0.5)
    """Largest shift, as a share of the side."""
    gain: float = Field(default=0.2, ge=0, lt=1)
    """Largest change of brightness, as a share."""
    scale: float = Field(default=0.0, ge=0, lt=0.9)
    """Largest share of the side that a crop leaves out; what is kept is enlarged."""
    colour: float = Field(default=0.0, ge=0, lt=1)
    """Largest change of a single colour channel, as a share."""
    views: int = Field(default=1, ge=1, le=32)
    """With a frozen backbone: how many views of a clip are kept, the first of them unchanged. An epoch draws one."""


class OptimiserConfig(GrowingDocument):
    """AdamW with warm-up and decay."""

    first_fields: ClassVar = frozenset(
        {"lr", "weight_decay", "warmup_share", "clip_norm", "epochs", "video_batch", "text_batch", "video_repeat"}
        | {"precision", "pair_probability", "task_weights"}
    )

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
    accumulation_steps: int = Field(default=1, ge=1)
    """Into how many parts a process splits its share of a batch, to accumulate gradients before the optimiser steps.
    Batch, loss and number of steps stay the same; memory falls, and each part draws its own dropout."""
    group_lengths: bool = False
    """Whether texts of like length meet in a batch, drawn anew each epoch: less padding, and batches less alike."""
    schedule: Literal["linear", "cosine"] = "linear"
    """How the rate falls to zero after the warm-up."""
    encoder_lr: float | None = Field(default=None, gt=0)
    """Rate of what started from pretrained weights and is trained; without it ``lr``. Usually a tenth of that."""
    ngram_lr: float | None = Field(default=None, gt=0)
    """Rate of the hashed path's weights, which are sparse and start at zero; without it ``lr``."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Of the exponential moving average of the weights that is kept in place of the last ones; 0 keeps the last."""
    keep: Literal["last", "best"] = "last"
    """Which epoch's weights are kept: ``best`` by the mean over tasks of the validation rows' PR-AUC."""
    refit: bool = False
    """Whether, with epochs, temperature and thresholds chosen on validation rows, a model is trained anew on training
    rows and the validation fold together. Twice the work, for half as many rows again where folds are few. Rows of a
    fixed validation split stay out of it."""
    modality_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of rows with clip and text that lose one of them, by turns: else a request with one alone is unlike all
    that was trained on."""
    balance: Literal["none", "class"] = "none"
    """``class``: rows weigh in a task's label loss so that its classes weigh the same."""
    augmentation: AugmentationConfig = AugmentationConfig()
