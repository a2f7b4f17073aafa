"""X-VLM over moments: the student and the baseline on a pretrained trunk. No way to see a privileged feature.

A task reads what its training rows held, and nothing else:

    video alone     attention-pooled moments: each moment's evidence adds up to the logits
    text alone      [CLS] of the cross encoder, which attends to the text and to ``no_video``
    both            [CLS] of the cross encoder over text and moments, and the evidence of the moments

So a title cannot move a verdict that was never trained on titles, nor a clip one that was trained on titles alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contract.decision import Modality, TaskSpec
from contract.input_spec import InputSpec
from training.config import ModelConfig, MomentVisionConfig
from training.models.cross_encoder import CrossEncoder
from training.models.hashed_ngrams import HashedNgrams
from training.models.text_encoder import TextEncoder, attention_bias
from training.models.vision_trunk import VisionTrunk
from training.models.xvlm import classification_head, initialise

FUSED, TEXT = "fused", "text"
SHARED = "*"
"""Tokens of all statistics, for the tasks that have none of their own."""
_BOTH = {Modality.VIDEO, Modality.TEXT}


class MomentEncoder(nn.Module):
    """Statistics of moments -> tokens, each from its own moment alone.

    The statistics are standardised by means and deviations of training rows, which are part of the weights.
    """

    mean_F: Tensor
    deviation_F: Tensor

    def __init__(self, config: MomentVisionConfig, spec: InputSpec, tasks: Sequence[str]) -> None:
        """Args: ``tasks`` get tokens of their own where they read statistics of their own."""
        super().__init__()
        self.trunk = VisionTrunk(config, spec)
        self.register_buffer("mean_F", torch.zeros(self.trunk.width))
        self.register_buffer("deviation_F", torch.ones(self.trunk.width))
        self._bounded = config.bounded
        self._columns = {
            t: self.trunk.columns_of(config.task_statistics[t]) for t in tasks if t in config.task_statistics
        }
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Linear(self.trunk.width, config.width)
        self.project_for = nn.ModuleDict({t: nn.Linear(len(c), config.width) for t, c in self._columns.items()})

    def standardise(self, features_NKF: Tensor) -> None:
        """Takes means and deviations from the statistics of training clips (N, K, F)."""
        flat = features_NKF.reshape(-1, features_NKF.shape[-1]).float()
        self.mean_F.copy_(flat.mean(dim=0))
        self.deviation_F.copy_(flat.std(dim=0, unbiased=False).clamp(min=1e-4))

    def forward(self, features_BKF: Tensor) -> dict[str, Tensor]:
        """Task that reads statistics of its own, or ``SHARED`` -> tokens_BKD (B, K, D)."""
        standard_BKF = (features_BKF - self.mean_F) / self.deviation_F
        tokens = {SHARED: self.project(self.dropout(standard_BKF))}
        for task, columns in self._columns.items():
            tokens[task] = self.project_for[task](standard_BKF[:, :, columns])
        return {name: torch.tanh(value) for name, value in tokens.items()} if self._bounded else tokens


class MomentXVLM(nn.Module):
    """Frames (or what the trunk made of them) and text in, one set of logits for each task out."""

    def __init__(self, config: ModelConfig, spec: InputSpec, tasks: Sequence[TaskSpec]) -> None:
        super().__init__()
        assert isinstance(config.vision, MomentVisionConfig)
        hidden = config.text.hidden_size
        self.task_names = tuple(t.name for t in tasks)
        self.moment_tasks = tuple(t.name for t in tasks if Modality.VIDEO in t.modalities)
        self._read_by = {t.name: _reading(t) for t in tasks}
        self._whole = tuple(name for name in (FUSED, TEXT) if name in self._read_by.values())
        self.vision_encoder = MomentEncoder(config.vision, spec, self.moment_tasks)
        self.text_encoder = TextEncoder(config.text)
        self.text_frozen = config.text.frozen
        if self.text_frozen:
            self.text_encoder.requires_grad_(False)
        self.cross_encoder = CrossEncoder(config.text, config.vision.width)
        self.text_projection = nn.Linear(hidden, hidden)
        self.pooled_projection = nn.Linear(hidden, hidden)
        self.no_video = nn.Parameter(torch.zeros(1, 1, hidden))
        self.no_text = nn.Parameter(torch.zeros(1, 1, hidden))
        texts = [t for t in tasks if Modality.TEXT in t.modalities]
        self.heads = nn.ModuleDict({t.name: classification_head(hidden, t.logits_width) for t in texts})
        clips = [t for t in tasks if Modality.VIDEO in t.modalities]
        self.moment_heads = nn.ModuleDict({t.name: nn.Linear(hidden, t.logits_width) for t in clips})
        self.attention = nn.ModuleDict()
        if config.vision.attention:
            self.attention.update({t.name: GatedAttention(hidden) for t in clips})
        self.ngrams = HashedNgrams(config.text, texts) if config.text.ngram_buckets and texts else None
        for module in (self.pooled_projection, self.text_projection, self.heads, self.moment_heads, self.cross_encoder):
            module.apply(initialise)
        if not config.text.frozen:
            self.text_encoder.apply(initialise)
        nn.init.trunc_normal_(self.no_video, std=0.02)
        nn.init.trunc_normal_(self.no_text, std=0.02)

    def train(self, mode: bool = True) -> MomentXVLM:
        """A frozen text encoder stays in evaluation mode: what it gives is a function of the text alone."""
        super().train(mode)
        if self.text_frozen:
            self.text_encoder.eval()
        return self

    @property
    def readings(self) -> tuple[str, ...]:
        """R: names of what ``encode`` returns, in its order: whole requests first, then the moments of each task."""
        return (*self._whole, *self.moment_tasks)

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        video_present: Tensor,
        text_present: Tensor,
        frames: Tensor | None = None,
        vision_features: Tensor | None = None,
        text_features: Tensor | None = None,
        extra_tokens_BGD: Tensor | None = None,
    ) -> Tensor:
        """represented_BRD (B, R, D): what the heads read, in the order of ``readings``. Arguments as in ``forward``.

        Args:
            extra_tokens_BGD: more tokens (B, G, D) to attend to beside the moments; only a teacher has any.
        """
        tokens = self._tokens(frames, vision_features)
        found = self._whole_requests(
            tokens[SHARED], input_ids, attention_mask, video_present, text_present, text_features, extra_tokens_BGD
        )
        present_B1 = video_present[:, None].to(tokens[SHARED].dtype)
        for name in self.moment_tasks:
            moments_BKD = tokens.get(name, tokens[SHARED])
            weights_BK = self.moment_weights(name, moments_BKD)
            found.append(present_B1 * (weights_BK[:, :, None] * moments_BKD).sum(dim=1))
        return torch.stack(found, dim=1)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Task name -> (B, K) logits.

        Args:
            inputs: ``input_ids`` and ``attention_mask`` (B, L) int64, ``video_present`` and ``text_present`` (B,) bool;
                ``frames`` (B, T, S, S, 3) uint8 or ``vision_features`` (B, K, F), what the frozen trunk gives of them;
                ``text_features`` (B, L, D) where the frozen text layers' output is at hand.
        """
        return self.logits(self.encode(**inputs), **inputs)

    def logits(self, represented_BRD: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """Task name -> (B, K) logits of what ``encode`` returned for these inputs, and of their hashed sequences."""
        logits = self.classify(represented_BRD)
        return self._with_ngrams(logits, inputs["input_ids"], inputs["attention_mask"], inputs["text_present"])

    def classify(self, represented_BRD: Tensor) -> dict[str, Tensor]:
        """Task name -> (B, K) logits of what ``encode`` returned, the hashed path not counted."""
        place = {name: i for i, name in enumerate(self.readings)}
        logits: dict[str, Tensor] = {}
        for name in self.task_names:
            parts = []
            if name in self.heads:
                parts.append(self.heads[name](represented_BRD[:, place[self._read_by[name]]]))
            if name in self.moment_heads:
                parts.append(self.moment_heads[name](represented_BRD[:, place[name]]))
            logits[name] = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return logits

    def evidence(self, vision_features: Tensor) -> dict[str, Tensor]:
        """Task -> (B, M, K): each of M moments' share of the logits; of a task of clips alone they add up to them.

        Args:
            vision_features: (B, M, F), what the trunk gives.
        """
        tokens, shares = self.vision_encoder(vision_features), {}
        for name in self.moment_tasks:
            moments_BMD = tokens.get(name, tokens[SHARED])
            shares[name] = self.moment_weights(name, moments_BMD)[:, :, None] * self.moment_heads[name](moments_BMD)
        return shares

    def moment_weights(self, task: str, moments_BKD: Tensor) -> Tensor:
        """(B, M) that add up to 1: how much each moment counts for the task."""
        if task in self.attention:
            weights_BK: Tensor = self.attention[task](moments_BKD)
            return weights_BK
        return moments_BKD.new_full(moments_BKD.shape[:2], 1 / moments_BKD.shape[1])

    def classifiers(self) -> dict[str, Tensor]:
        """Task name -> (K, E + 1): weights and bias [W; b] of the last layer that its logits come from."""
        layers = {n: self.heads[n][-1] if n in self.heads else self.moment_heads[n] for n in self.task_names}
        return {name: torch.cat([layer.weight, layer.bias[:, None]], dim=1) for name, layer in layers.items()}

    def _tokens(self, frames: Tensor | None, vision_features: Tensor | None) -> dict[str, Tensor]:
        if vision_features is None:
            assert frames is not None
            vision_features = self.vision_encoder.trunk(frames)
        found: dict[str, Tensor] = self.vision_encoder(vision_features)
        return found

    def _whole_requests(
        self,
        moments_BKD: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        video_present: Tensor,
        text_present: Tensor,
        text_features: Tensor | None,
        extra_tokens_BGD: Tensor | None,
    ) -> list[Tensor]:
        """Of the readings of whole requests: (B, D) each."""
        if not self._whole:
            return []
        bias_B11L = attention_bias(attention_mask)
        text_BLD = self.text_encoder(input_ids, bias_B11L) if text_features is None else text_features
        mask_BL1 = attention_mask[:, :, None].to(text_BLD.dtype)
        pooled_BD = (text_BLD * mask_BL1).sum(dim=1) / mask_BL1.sum(dim=1)
        absent_B1 = 1.0 - text_present[:, None].to(text_BLD.dtype)
        cls_B1D = text_BLD[:, :1] + self.no_text * absent_B1[:, :, None]
        text_BLD = torch.cat([cls_B1D, text_BLD[:, 1:]], dim=1)
        own_BD = self.text_projection(pooled_BD) * (1.0 - absent_B1)
        found = []
        for reading in self._whole:
            attended_BVD = self.no_video.expand(len(text_BLD), 1, -1)
            if reading == FUSED:
                absent_BVD = attended_BVD.expand(-1, moments_BKD.shape[1], -1)
                attended_BVD = torch.where(video_present[:, None, None], moments_BKD, absent_BVD)
            if extra_tokens_BGD is not None:
                attended_BVD = torch.cat([attended_BVD, extra_tokens_BGD], dim=1)
            fused_BD = self.cross_encoder.first_token(text_BLD, bias_B11L, attended_BVD) + own_BD
            if reading == FUSED:
                present_B1 = video_present[:, None].to(fused_BD.dtype)
                fused_BD = fused_BD + self.pooled_projection(moments_BKD.mean(dim=1)) * present_B1
            found.append(fused_BD)
        return found

    def _with_ngrams(
        self, logits: Mapping[str, Tensor], input_ids: Tensor, attention_mask: Tensor, text_present: Tensor
    ) -> dict[str, Tensor]:
        if self.ngrams is None:
            return dict(logits)
        own = self.ngrams(input_ids, attention_mask * text_present[:, None].to(attention_mask.dtype))
        return {name: value + own[name] if name in own else value for name, value in logits.items()}


class GatedAttention(nn.Module):
    """Tokens -> weights that add up to 1 (arXiv:1802.04712 eq. 9)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(8, width // 4)
        self.value = nn.Linear(width, inner)
        self.gate = nn.Linear(width, inner)
        self.score = nn.Linear(inner, 1)

    def forward(self, tokens_BKD: Tensor) -> Tensor:
        """(B, K)."""
        gated_BKI = torch.tanh(self.value(tokens_BKD)) * torch.sigmoid(self.gate(tokens_BKD))
        return F.softmax(self.score(gated_BKI)[:, :, 0], dim=1)


def _reading(task: TaskSpec) -> str:
    """Which reading of whole requests the task's head takes."""
    return FUSED if set(task.modalities) == _BOTH else TEXT
