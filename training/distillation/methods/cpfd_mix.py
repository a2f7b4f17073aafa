"""CPFD in which a row's label gains what its teacher loses."""

from __future__ import annotations

from typing import Final

from training.distillation.method import Method
from training.distillation.methods.cpfd import cpfd

METHOD: Final = Method(
    "cpfd_mix",
    cpfd,
    teacher="privileged",
    source="arXiv:2410.03038, method note 1.5",
    options={"confidence": "true_prob", "weighting": "mix"},
)
"""mean[(1 - lambda c_i) CE_i + lambda c_i KD_i]: "adaptive" read as a lambda for each row."""
