"""Generalised distillation: the teacher reads the privileged features and nothing else."""

from __future__ import annotations

from typing import Final

from training.distillation.method import Method
from training.distillation.methods.pfd import pfd

METHOD: Final = Method("gend", pfd, teacher="privileged_only", source="arXiv:1511.03643")
"""(1 - lambda) CE + lambda T^2 KL, s_i = softmax(f_t(x*_i) / T) (arXiv:1511.03643; the authors' code has the T^2, their
text does not: method note 4)."""
