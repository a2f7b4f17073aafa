"""The teachers that read privileged dense features: DF-X-VLM, and one that reads only those. Never exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from contract.decision import TaskSpec
from contract.input_spec import InputSpec
from training.config import ModelConfig, MomentVisionConfig, TeacherConfig
from training.models.moment_xvlm import MomentXVLM
from training.models.xvlm import XVLM, classification_head


def build_xvlm(config: ModelConfig, spec: InputSpec, tasks: Sequence[TaskSpec]) -> XVLM | MomentXVLM:
    """A fresh X-VLM: over moments where the vision encoder is a pretrained backbone, else over Swin's patches."""
    if isinstance(config.vision, MomentVisionConfig):
        return MomentXVLM(config, spec, tasks)
    return XVLM(config, spec, tasks)


class PrivilegedEncoder(nn.Module):
    """One group's standardised values and presence mask -> an embedding, zero where the whole group is absent."""

    def __init__(self, features: int, config: TeacherConfig, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * features, config.hidden_size),
            nn.LayerNorm(config.hidden_size),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden_size, width),
        )

    def forward(self, values_BF: Tensor, presence_BF: Tensor) -> Tensor:
        """embedding_BD (B, D) from values (B, F), 0 where absent, and presence (B, F) in {0, 1}."""
        any_present_B1 = presence_BF.amax(dim=1, keepdim=True)
        return self.mlp(torch.cat([values_BF * presence_BF, presence_BF], dim=1)) * any_present_B1


class DFXVLM(nn.Module):
    """X-VLM plus privileged groups, fused in one of four ways (method.md 1.7).

    gated_residual   each group's embedding is added to [CLS] through a gate of both
    tokens           each group is a token that [CLS] attends to
    concat           [CLS] and the embeddings, side by side, through one linear layer
    film             the groups scale and shift [CLS] (FiLM, arXiv:1709.07871), at first not at all
    """

    def __init__(
        self,
        config: ModelConfig,
        teacher: TeacherConfig,
        spec: InputSpec,
        tasks: Sequence[TaskSpec],
        groups: Mapping[str, int],
    ) -> None:
        """Args: ``groups`` is group name -> number of features F."""
        super().__init__()
        self.xvlm = build_xvlm(config, spec, tasks)
        if teacher.fusion == "tokens" and isinstance(self.xvlm, MomentXVLM) and self.xvlm.unattended_tasks:
            raise ValueError("teacher.fusion tokens reaches no task that reads moments or pooled text: choose another")
        self.fusion = teacher.fusion
        hidden = config.text.hidden_size
        width = config.vision.width if teacher.fusion == "tokens" else hidden
        self.encoders = nn.ModuleDict({name: PrivilegedEncoder(n, teacher, width) for name, n in groups.items()})
        gated = groups if teacher.fusion == "gated_residual" else {}
        self.gates = nn.ModuleDict({name: nn.Linear(2 * hidden, hidden) for name in gated})
        if teacher.fusion == "concat":
            self.join = nn.Linear((1 + len(groups)) * hidden, hidden)
        if teacher.fusion == "film":
            self.films = nn.ModuleDict({name: nn.Linear(hidden, 2 * hidden, bias=False) for name in groups})
            for film in self.films.values():
                nn.init.zeros_(film.weight)

    def encode(self, privileged: Mapping[str, tuple[Tensor, Tensor]], **inputs: Tensor) -> Tensor:
        """(B, D), or (B, R, D) of R readings: what the heads read. Arguments as in ``forward``."""
        embeddings = {name: encoder(*privileged[name]) for name, encoder in self.encoders.items()}
        if self.fusion == "tokens":
            return self.xvlm.encode(**inputs, extra_tokens_BGD=torch.stack([*embeddings.values()], dim=1))
        represented = self.xvlm.encode(**inputs)
        if represented.ndim == 2:
            return self._fused(represented, embeddings)
        readings = represented.shape[1]
        spread = {name: value.repeat_interleave(readings, dim=0) for name, value in embeddings.items()}
        return self._fused(represented.flatten(0, 1), spread).unflatten(0, (-1, readings))

    def _fused(self, represented_BD: Tensor, embeddings: Mapping[str, Tensor]) -> Tensor:
        """(B, D) of [CLS] and the groups' embeddings (B, D); a group that is absent embeds as zeros."""
        if self.fusion == "concat":
            return self.join(torch.cat([represented_BD, *embeddings.values()], dim=1))
        if self.fusion == "film":
            films = [self.films[name](embedding_BD) for name, embedding_BD in embeddings.items()]
            scale_BD, shift_BD = torch.stack(films).sum(dim=0).chunk(2, dim=1)
            return (1 + scale_BD) * represented_BD + shift_BD
        fused_BD = represented_BD
        for name, embedding_BD in embeddings.items():
            gate_BD = torch.sigmoid(self.gates[name](torch.cat([represented_BD, embedding_BD], dim=1)))
            fused_BD = fused_BD + gate_BD * embedding_BD
        return fused_BD

    def forward(self, privileged: Mapping[str, tuple[Tensor, Tensor]], **inputs: Tensor) -> dict[str, Tensor]:
        """Task name -> (B, K) logits.

        Args:
            privileged: group -> (values (B, F), presence (B, F)).
            inputs: as ``XVLM``.
        """
        return self.xvlm.logits(self.encode(privileged, **inputs), **inputs)

    def classifiers(self) -> dict[str, Tensor]:
        """As ``XVLM``."""
        return self.xvlm.classifiers()


class PrivilegedOnly(nn.Module):
    """Privileged groups in, logits out: generalised distillation's teacher (arXiv:1511.03643)."""

    def __init__(
        self, config: ModelConfig, teacher: TeacherConfig, tasks: Sequence[TaskSpec], groups: Mapping[str, int]
    ) -> None:
        """Args: ``groups`` is group name -> number of features F."""
        super().__init__()
        hidden = config.text.hidden_size
        self.encoders = nn.ModuleDict({name: PrivilegedEncoder(n, teacher, hidden) for name, n in groups.items()})
        self.heads = nn.ModuleDict({t.name: classification_head(hidden, t.logits_width) for t in tasks})

    def forward(self, privileged: Mapping[str, tuple[Tensor, Tensor]], **inputs: Tensor) -> dict[str, Tensor]:
        """Task name -> (B, K) logits; ``inputs`` are taken, so that it is called as ``DFXVLM`` is, and not read."""
        embeddings = [encoder(*privileged[name]) for name, encoder in self.encoders.items()]
        represented_BD = torch.stack(embeddings).sum(dim=0)
        return {name: head(represented_BD) for name, head in self.heads.items()}
