"""Privileged feature distillation from teachers that did not see the rows they teach."""

from __future__ import annotations

from typing import Final

from training.distillation.method import Method
from training.distillation.methods.pfd import pfd

METHOD: Final = Method("pfd_crossfit", pfd, teacher="privileged_crossfit", source="arXiv:1907.05171, method note 1.6")
"""PFD's loss on out-of-fold soft targets: what the cross-fitted CPFDs are to be compared with."""
