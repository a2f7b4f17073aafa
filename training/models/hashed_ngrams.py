"""Word pieces -> logits by a weight for each hashed sequence of one or two: what tf-idf and a linear model see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contract.decision import TaskSpec

_FIRST, _SECOND, _OFFSET = 1_000_003, 998_244_353, 17


class HashedNgrams(nn.Module):
    """A linear model of one- and two-piece sequences, hashed into buckets (arXiv:0902.2206).

    The hash is integer arithmetic on token ids, so it is part of the exported graph. A text's weights are summed and
    divided by the root of its number of sequences, so that long texts do not outweigh short ones.
    """

    def __init__(self, buckets: int, tasks: Sequence[TaskSpec]) -> None:
        super().__init__()
        self.buckets = buckets
        self.widths = {t.name: t.logits_width for t in tasks}
        self.weights = nn.Embedding(buckets, sum(self.widths.values()))
        nn.init.zeros_(self.weights.weight)

    def forward(self, input_ids_BL: Tensor, mask_BL: Tensor) -> dict[str, Tensor]:
        """Task name -> (B, K) from ids (B, L) and mask (B, L), 1 where a piece counts; zeros where none does."""
        first_BM, second_BM = input_ids_BL[:, :-1], input_ids_BL[:, 1:]
        pairs_BM = (first_BM * _FIRST + second_BM * _SECOND + _OFFSET) % self.buckets
        singles_BL = (input_ids_BL * _FIRST) % self.buckets
        counted_BN = torch.cat([mask_BL, mask_BL[:, 1:]], dim=1).to(self.weights.weight.dtype)
        summed_BS = (self.weights(torch.cat([singles_BL, pairs_BM], dim=1)) * counted_BN[:, :, None]).sum(dim=1)
        scaled_BS = summed_BS / counted_BN.sum(dim=1, keepdim=True).clamp(min=1.0).sqrt()
        return dict(zip(self.widths, scaled_BS.split(list(self.widths.values()), dim=1), strict=True))
