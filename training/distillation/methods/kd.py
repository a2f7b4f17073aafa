"""Vanilla knowledge distillation: the teacher is larger, and reads what the student reads."""

from __future__ import annotations

from typing import Final

from training.distillation.method import Method
from training.distillation.methods.pfd import pfd

METHOD: Final = Method("kd", pfd, teacher="plain_large", source="arXiv:1503.02531")
"""(1 - lambda) CE + lambda T^2 KL(p_t^T || p_s^T) (arXiv:1503.02531): PFD's loss with a teacher of greater capacity and
no privileged features. Without ``RunConfig.kd_teacher`` that teacher is of the student's size, as in self-distillation.
"""
