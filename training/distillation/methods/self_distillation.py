"""Self-distillation: the control that tells what privileged features add to being distilled at all."""

from __future__ import annotations

from typing import Final

from training.distillation.method import Method
from training.distillation.methods.pfd import pfd

METHOD: Final = Method("self_distillation", pfd, teacher="plain", source="arXiv:1805.04770, arXiv:2209.08754")
"""PFD's loss with a teacher of the student's own architecture and inputs (arXiv:1805.04770)."""
