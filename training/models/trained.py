"""The model as it is trained: one ``forward`` for all roles, without outputs that the loss does not read."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from training.models.companions import JointPair
from training.models.df_xvlm import DFXVLM, PrivilegedOnly

Privileged = Mapping[str, tuple[Tensor, Tensor]]


def outputs_of(model: nn.Module, inputs: Mapping[str, Tensor], privileged: Privileged) -> dict[str, Tensor]:
    """Output -> (B, K); the privileged features go to a teacher and to nothing else."""
    if isinstance(model, DFXVLM | PrivilegedOnly | JointPair):
        return dict(model(**inputs, privileged=privileged))
    return dict(model(**inputs))


class Trained(nn.Module):
    """What DistributedDataParallel wraps.

    It takes a parameter for used that any output depends on. A head whose task no row of the batch is labelled for must
    stay without gradient, as it does on one process; so its output is dropped here.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, inputs: Mapping[str, Tensor], privileged: Privileged, dropped: Collection[str] = ()
    ) -> dict[str, Tensor]:
        """Output -> (B, K) of ``outputs_of``, the dropped ones left out."""
        outputs = outputs_of(self.model, inputs, privileged)
        return {name: value for name, value in outputs.items() if name not in dropped}
