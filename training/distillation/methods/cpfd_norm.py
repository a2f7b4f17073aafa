"""CPFD with as much distillation as PFD: what is left is adaptivity."""

from __future__ import annotations

from typing import Final

from training.distillation.method import Method
from training.distillation.methods.cpfd import cpfd

METHOD: Final = Method(
    "cpfd_norm",
    cpfd,
    teacher="privileged",
    source="arXiv:2410.03038, method note 1.5",
    options={"confidence": "true_prob", "weighting": "norm"},
)
"""(1 - lambda) mean CE_i + lambda mean(c_i KD_i) / mean(c_i), means over the batch: where CPFD differs from PFD and
this does not, the difference was a smaller lambda."""
