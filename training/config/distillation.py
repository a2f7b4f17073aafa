"""What the student learns from a teacher, and how much."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from contract.frozen import GrowingDocument

ConfidenceName = Literal["true_prob", "max_prob", "max_prob_norm", "entropy", "correct", "margin", "uniform"]
WeightingName = Literal["scale", "mix", "norm"]


class DistillationConfig(GrowingDocument):
    """L = (1 - lambda) mean CE_i + lambda mean c_i KD_i (method.md 1.5), and the options of its rivals."""

    first_fields: ClassVar = frozenset({"lam", "temperature", "confidence", "weighting"})

    lam: float = Field(default=0.5, ge=0, le=1)
    temperature: float = Field(default=2.0, gt=0)
    """T: both logits are divided by it in the distillation term, which is multiplied by T^2."""
    confidence: ConfidenceName = "true_prob"
    """c_i: how the teacher's confidence in a row is computed."""
    weighting: WeightingName = "scale"
    """How c_i enters: on the distillation term alone, as the row's own lambda, or with the batch's mean kept at 1."""
    gamma: float = Field(default=1.0, ge=0)
    """The power c_i is raised to; 0 is PFD."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """The least weight a row gets, before ``per_class_norm``."""
    per_class_norm: bool = False
    """Divides the weights by their mean over the training rows of the same class, so that rare positives, which a
    teacher is less sure of, are not distilled less. Weights can then exceed 1."""
    swap_share: float = Field(default=0.25, ge=0, le=1)
    """``pfd_joint``: lambda is 0 for this share of the steps, while the teacher is hardly trained."""
    preview_delta: float = Field(default=1.0, ge=0)
    """``pckd_preview`` and ``pckd``: delta, the weight of the distillation term. The authors' command leaves it 0."""
    pckd_beta: float = Field(default=0.05, ge=0)
    """``pckd``: weight of the category-contrastive term; this default and the next two are the authors'."""
    pckd_alpha: float = Field(default=1.0, ge=0)
    """``pckd``: weight of the difference between the classifiers' last layers."""
    pckd_fa: float = Field(default=20.0, ge=0)
    """``pckd``: weight of the angle between the student's projected features and the teacher's."""
    cckd_form: Literal["loss", "target"] = "loss"
    """``cckd``: whether the teacher's confidence mixes two losses, or two targets."""
    wsld_alpha: float = Field(default=2.5, ge=0)
    """``wsld``: weight of the distillation term."""
    ea_temperature: float = Field(default=3.0, gt=0)
    """``ea_kd``: T' of the entropies."""
    tpd_beta: float = Field(default=0.5, ge=0)
    """``tpd``: weight of the term that moves the student away from a teacher that is wrong."""
    tpd_clip: float = Field(default=2.0, gt=0)
    """``tpd``: nats at which that term is clipped."""
    mtl_beta: float = Field(default=0.5, ge=0)
    """``mtl``: weight of predicting the privileged features."""
