"""Cross-fitted self-distillation: the control that tells privileged features from teachers that did not see the row."""

from __future__ import annotations

from typing import Final

from training.distillation.method import Method
from training.distillation.methods.pfd import pfd

METHOD: Final = Method(
    "self_distillation_crossfit", pfd, teacher="plain_crossfit", source="arXiv:1805.04770, method note 1.6"
)
"""``pfd_crossfit`` but for the privileged features: same loss, same parts, teachers of the student's inputs alone."""
