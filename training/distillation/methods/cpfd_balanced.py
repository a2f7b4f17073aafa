"""Cross-fitted CPFD that distils every class of a task as much as any other."""

from __future__ import annotations

from typing import Final

from training.distillation.method import Method
from training.distillation.methods.cpfd import cpfd

METHOD: Final = Method(
    "cpfd_balanced",
    cpfd,
    teacher="privileged_crossfit",
    source="arXiv:2410.03038, method note 1.6",
    options={"confidence": "true_prob", "weighting": "scale", "per_class_norm": True},
)
"""(1 - lambda) mean CE_i + lambda mean(w_i KD_i), w_i = c_i / mean of c over the training rows of class y_i, c_i being
out of fold: rare positives, of which a teacher is less sure, are not distilled less. In a multilabel task each label's
two classes are apart."""
