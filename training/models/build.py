"""A run's configuration -> a fresh model: student, baseline or teacher."""

from __future__ import annotations

from typing import Literal

from torch import nn

from contract.decision import TaskSpec
from training.config import RunConfig
from training.data.privileged import PrivilegedStatistics
from training.models.df_xvlm import DFXVLM, PrivilegedOnly, build_xvlm

Role = Literal["teacher", "student", "plain_teacher", "privileged_only_teacher"]
"""A ``teacher`` reads everything, a ``plain_teacher`` what the student reads, the last privileged features alone."""


def build_model(
    config: RunConfig, tasks: tuple[TaskSpec, ...], statistics: PrivilegedStatistics | None, role: Role = "teacher"
) -> nn.Module:
    """A fresh model: DF-X-VLM where there are privileged statistics, else X-VLM.

    Raises:
        ValueError: a teacher that reads privileged features alone, where there are none.
    """
    spec = config.input_spec
    if statistics is None:
        return build_xvlm(config.model, spec, tasks)
    if role == "privileged_only_teacher":
        if not statistics.groups:
            raise ValueError("a teacher of privileged features alone needs some, and there are none")
        return PrivilegedOnly(config.model, config.teacher, tasks, statistics.widths)
    return DFXVLM(config.model, config.teacher, spec, tasks, statistics.widths)
