"""CPFD whose confidence is that of teachers in rows they did not see."""

from __future__ import annotations

from typing import Final

from training.distillation.method import Method
from training.distillation.methods.cpfd import cpfd

METHOD: Final = Method(
    "cpfd_crossfit",
    cpfd,
    teacher="privileged_crossfit",
    source="arXiv:2410.03038, method note 1.6",
    options={"confidence": "true_prob", "weighting": "scale"},
)
"""(1 - lambda) mean CE_i + lambda mean(c_i KD_i), c_i = p_t[y_i] and KD_i both of the out-of-fold teacher."""
