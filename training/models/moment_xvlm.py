"""X-VLM over moments: the student and the baseline on a pretrained trunk. No way to see a privileged feature.

A task reads what its training rows held, and nothing else:

    video alone     scores of moments, whose shares add up to the logits
    text alone      [CLS] of the cross encoder, which attends to the text and to ``no_video``; or, where the preset says
                    ``pooled``, the standardised mean of the frozen layers' tokens, which a linear head reads
    both            [CLS] of the cross encoder over text and moments, and the scores of the moments

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
FARTHEST = 4.0
"""Deviations from the mean: beyond it a statistic is an accident."""
_BOTH = {Modality.VIDEO, Modality.TEXT}


class MomentEncoder(nn.Module):
    """Statistics of moments -> standardised ones, and tokens that the cross encoder attends to.

    Means and deviations are those of training rows, and part of the weights.
    """

    mean_F: Tensor
    deviation_F: Tensor

    def __init__(self, config: MomentVisionConfig, spec: InputSpec) -> None:
        super().__init__()
        self.trunk = VisionTrunk(config, spec)
        self.register_buffer("mean_F", torch.zeros(self.trunk.width))
        self.register_buffer("deviation_F", torch.ones(self.trunk.width))
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Linear(self.trunk.width, config.width)

    def standardise(self, features_NKF: Tensor) -> None:
        """Takes means and deviations from the statistics of training clips (N, K, F)."""
        flat = features_NKF.reshape(-1, features_NKF.shape[-1]).float()
        self.mean_F.copy_(flat.mean(dim=0))
        self.deviation_F.copy_(flat.std(dim=0, unbiased=False).clamp(min=1e-4))

    def forward(self, features_BKF: Tensor) -> Tensor:
        """standard_BKF (B, K, F): in deviations from the mean, no further than ``FARTHEST``."""
        return self.dropout(((features_BKF - self.mean_F) / self.deviation_F).clamp(-FARTHEST, FARTHEST))


class PooledText(nn.Module):
    """The mean of a text's tokens, in deviations from the mean of training texts, which are part of the weights."""

    mean_D: Tensor
    deviation_D: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean_D", torch.zeros(width))
        self.register_buffer("deviation_D", torch.ones(width))

    def standardise(self, pooled_ND: Tensor) -> None:
        """Takes means and deviations from training texts' means (N, D)."""
        self.mean_D.copy_(pooled_ND.mean(dim=0))
        self.deviation_D.copy_(pooled_ND.std(dim=0, unbiased=False).clamp(min=1e-4))

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """(B, D): no further than ``FARTHEST``."""
        return ((pooled_BD - self.mean_D) / self.deviation_D).clamp(-FARTHEST, FARTHEST)


class MomentScorer(nn.Module):
    """One task's moments -> a score for each of its outputs and moments, and their shares of the clip's.

    A score is linear in the moment's statistics and in how far each lies from the clip's mean: with some hundred clips
    anything richer learns them by heart. Tied, it is linear in each statistic's sum over its channels, and in nothing
    else. It starts at zero. A moment that has a statistic J times is scored as often, and has the mean. Scores of
    ``strongest`` tasks are bounded before that, and moments weigh by the exponential of theirs.

    Args:
        columns: those of each statistic among the F: J times its channels, or once.
        outputs: O.
        pooling: ``mean`` or ``strongest``.
        bound: the largest score of a ``strongest`` task's moment; 0 for none.
        tied: whether a statistic's channels share one weight.
    """

    def __init__(
        self,
        columns: Sequence[Sequence[Sequence[int]]],
        outputs: int,
        pooling: str,
        bound: float,
        *,
        tied: bool = False,
    ) -> None:
        super().__init__()
        often = max(len(times) for times in columns)
        grid_JF = [[column for times in columns for column in times[min(j, len(times) - 1)]] for j in range(often)]
        self.register_buffer("columns_JF", torch.tensor(grid_JF), persistent=False)
        sizes = [len(times[0]) for times in columns]
        self._strongest, self._bound = pooling == "strongest", bound
        if tied:
            # By the root of their number: of unrelated channels the sum then changes as much as one, of such as move
            # together more.
            sums = [torch.full((size, 1), size**-0.5) for size in sizes]
            self.register_buffer("sums_FN", torch.block_diag(*sums), persistent=False)
        self.linear = nn.Linear(len(columns) if tied else sum(sizes), outputs)
        self.deviation = None if tied else nn.Linear(sum(sizes), outputs, bias=False)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, standard_BKF: Tensor) -> Tensor:
        """shares_BKO (B, K, O): they add up to the clip's scores."""
        own_BKJF = standard_BKF[:, :, self.columns_JF]
        if self.deviation is None:
            scores_BKJO = self.linear(own_BKJF @ self.sums_FN)
        else:
            apart_BKJF = (own_BKJF - own_BKJF.mean(dim=(1, 2), keepdim=True)).abs()
            scores_BKJO = self.linear(own_BKJF) + self.deviation(apart_BKJF)
        if self._strongest and self._bound > 0:
            scores_BKJO = self._bound * torch.tanh(scores_BKJO / self._bound)
        scores_BKO = scores_BKJO.mean(dim=2)
        if not self._strongest:
            return scores_BKO / scores_BKO.shape[1]
        return scores_BKO.softmax(dim=1) * scores_BKO


class MomentXVLM(nn.Module):
    """Frames (or what the trunk made of them) and text in, one set of logits for each task out."""

    def __init__(self, config: ModelConfig, spec: InputSpec, tasks: Sequence[TaskSpec]) -> None:
        super().__init__()
        assert isinstance(config.vision, MomentVisionConfig)
        hidden = self.hidden = config.text.hidden_size
        self.task_names = tuple(t.name for t in tasks)
        self.moment_tasks = tuple(t.name for t in tasks if Modality.VIDEO in t.modalities)
        self._read_by = {t.name: _reading(t) for t in tasks if Modality.TEXT in t.modalities}
        self._whole = tuple(name for name in (FUSED, TEXT) if name in self._read_by.values())
        pools = config.text.alone == "pooled" and TEXT in self._whole
        self.vision_encoder = MomentEncoder(config.vision, spec)
        self.text_encoder = TextEncoder(config.text)
        self.text_frozen = config.text.frozen
        if self.text_frozen:
            self.text_encoder.requires_grad_(False)
        self.pooled_text = PooledText(hidden) if pools else None
        self.cross_encoder = CrossEncoder(config.text, config.vision.width)
        self.text_projection = nn.Linear(hidden, hidden)
        self.pooled_projection = nn.Linear(hidden, hidden)
        self.no_video = nn.Parameter(torch.zeros(1, 1, hidden))
        self.no_text = nn.Parameter(torch.zeros(1, 1, hidden))
        texts = [t for t in tasks if Modality.TEXT in t.modalities]
        self.heads = nn.ModuleDict()
        for task in texts:
            linear = pools and self._read_by[task.name] == TEXT
            self.heads[task.name] = (_linear_head if linear else classification_head)(hidden, task.logits_width)
        clips = [t for t in tasks if Modality.VIDEO in t.modalities]
        self.moment_heads = nn.ModuleDict({t.name: _identity_head(hidden, t.logits_width) for t in clips})
        self.scorers = nn.ModuleDict()
        for task in clips:
            kinds = config.vision.read_by(task.name)
            pooling = config.vision.task_pooling.get(task.name, "mean")
            columns = self.vision_encoder.trunk.columns_of(kinds)
            self.scorers[task.name] = MomentScorer(
                columns, task.logits_width, pooling, config.vision.bound, tied=task.name in config.vision.tied_channels
            )
        self.ngrams = HashedNgrams(config.text, texts) if config.text.ngram_buckets and texts else None
        fused = (head for name, head in self.heads.items() if not (pools and self._read_by[name] == TEXT))
        for module in (self.pooled_projection, self.text_projection, *fused, self.cross_encoder):
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
    def unattended_tasks(self) -> tuple[str, ...]:
        """Tasks whose logits come past the cross encoder, in part or all."""
        pooled = () if self.pooled_text is None else (name for name, read in self._read_by.items() if read == TEXT)
        return (*self.moment_tasks, *pooled)

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
        standard_BKF = self._standardised(frames, vision_features)
        found = self._whole_requests(
            self.vision_encoder.project(standard_BKF) if FUSED in self._whole else standard_BKF,
            input_ids,
            attention_mask,
            video_present,
            text_present,
            text_features,
            extra_tokens_BGD,
        )
        present_B1 = video_present[:, None].to(standard_BKF.dtype)
        for name in self.moment_tasks:
            scores_BO = present_B1 * self.scorers[name](standard_BKF).sum(dim=1)
            found.append(F.pad(scores_BO, (0, self.hidden - scores_BO.shape[1])))
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
        """Task -> (B, M, O): each of M moments' share of the logits; of a task of clips alone they add up to them.

        Args:
            vision_features: (B, M, F), what the trunk gives.
        """
        standard_BMF, shares = self.vision_encoder(vision_features), {}
        for name in self.moment_tasks:
            own_BMO, head = self.scorers[name](standard_BMF), self.moment_heads[name]
            outputs = own_BMO.shape[2]
            shares[name] = own_BMO @ head.weight[:, :outputs].T + head.bias / own_BMO.shape[1]
        return shares

    def classifiers(self) -> dict[str, Tensor]:
        """Task name -> (K, E + 1): weights and bias [W; b] of the last layer that its logits come from."""
        layers = {n: self.heads[n][-1] if n in self.heads else self.moment_heads[n] for n in self.task_names}
        return {name: torch.cat([layer.weight, layer.bias[:, None]], dim=1) for name, layer in layers.items()}

    def _standardised(self, frames: Tensor | None, vision_features: Tensor | None) -> Tensor:
        if vision_features is None:
            assert frames is not None
            vision_features = self.vision_encoder.trunk(frames)
        standard_BKF: Tensor = self.vision_encoder(vision_features)
        return standard_BKF

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
            if reading == TEXT and self.pooled_text is not None:
                found.append(self.pooled_text(pooled_BD) * (1.0 - absent_B1))
                continue
            attended_BVD = self.no_video.expand(text_BLD.shape[0], 1, -1)
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


def _identity_head(width: int, outputs: int) -> nn.Linear:
    """A linear layer that at first gives back the first outputs, a task's own scores. A teacher adds to them."""
    layer = nn.Linear(width, outputs)
    nn.init.zeros_(layer.bias)
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.weight[:, :outputs] = torch.eye(outputs)
    return layer


def _linear_head(width: int, outputs: int) -> nn.Sequential:
    """A linear layer that starts at zero."""
    layer = nn.Linear(width, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer)


def _reading(task: TaskSpec) -> str:
    """Which reading of whole requests the task's head takes."""
    return FUSED if set(task.modalities) == _BOTH else TEXT
