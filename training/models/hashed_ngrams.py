"""Words -> logits by a weight for each hashed word and pair of words: what tf-idf and a linear model see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from contract.decision import TaskSpec
from training.config import TextConfig

_PRIME, _PIECE, _PAIR, _OFFSET = 2_147_483_647, 1_000_003, 16_777_619, 17
"""All products of two numbers below the prime fit into 63 bits."""


class HashedNgrams(nn.Module):
    """A linear model of words and pairs of neighbouring words, hashed into buckets (arXiv:0902.2206).

    A word is all its pieces: WordPiece cuts rare words, which are the telling ones. Which pieces go on with a word is a
    buffer, filled from the run's vocabulary; the rest is integer arithmetic on token ids, so it is part of the exported
    graph. A text's weights are summed and divided by the root of their number, so that long texts do not outweigh
    short ones; or, weighted by tf-idf, by the length of the text's own vector.
    """

    goes_on_V: Tensor
    ignored_V: Tensor
    idf_N: Tensor

    def __init__(self, config: TextConfig, tasks: Sequence[TaskSpec]) -> None:
        super().__init__()
        self.buckets = config.ngram_buckets
        self.widths = {t.name: t.logits_width for t in tasks}
        self.weights = nn.Embedding(self.buckets, sum(self.widths.values()))
        nn.init.zeros_(self.weights.weight)
        self.register_buffer("goes_on_V", torch.zeros(config.vocab_size, dtype=torch.int64))
        self.register_buffer("ignored_V", torch.zeros(config.vocab_size, dtype=torch.int64))
        self.by_tfidf = config.ngram_weighting == "tfidf"
        if self.by_tfidf:
            self.register_buffer("idf_N", torch.ones(self.buckets))

    def read_vocabulary(self, pieces: Sequence[str]) -> None:
        """Takes from the pieces, in the order of their ids, which go on with a word and which are no words."""
        for i, piece in enumerate(pieces):
            self.goes_on_V[i] = int(piece.startswith("##"))
            self.ignored_V[i] = int(piece in ("[PAD]", "[CLS]", "[SEP]", "[MASK]"))

    @torch.no_grad()
    def read_texts(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Takes from training texts how rare each bucket is: log((1 + n) / (1 + texts that hold it)) + 1, of n texts.

        Args:
            batches: ids (B, L) and mask (B, L) int64.
        """
        texts, holding_N = 0, torch.zeros(self.buckets)
        for input_ids_BL, mask_BL in batches:
            buckets_BN, counted_BN = self.hashed_terms(input_ids_BL, mask_BL)
            texts += len(buckets_BN)
            for buckets, counted in zip(buckets_BN, counted_BN, strict=True):
                holding_N[buckets[counted > 0].unique()] += 1
        self.idf_N.copy_(torch.log((1 + texts) / (1 + holding_N)) + 1)

    def forward(self, input_ids_BL: Tensor, mask_BL: Tensor) -> dict[str, Tensor]:
        """Task name -> (B, K) from ids (B, L) and mask (B, L) int64, 1 where a piece counts; zeros where none does."""
        buckets_BN, counted_BN = self.hashed_terms(input_ids_BL, mask_BL)
        values_BN = self._tfidf(buckets_BN, counted_BN) if self.by_tfidf else counted_BN
        summed_BS = (self.weights(buckets_BN) * values_BN[:, :, None]).sum(dim=1)
        if not self.by_tfidf:
            summed_BS = summed_BS / counted_BN.sum(dim=1, keepdim=True).clamp(min=1.0).sqrt()
        return dict(zip(self.widths, summed_BS.split(list(self.widths.values()), dim=1), strict=True))

    def hashed_terms(self, input_ids_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Buckets (B, N) of N = 2 L - 1 places, words and then pairs; and (B, N) float, 1 where there is one."""
        words_BL, counted_BL = self.hashed_words(input_ids_BL, mask_BL)
        pairs_BM = (words_BL[:, :-1] * _PAIR % _PRIME + words_BL[:, 1:] + _OFFSET) % _PRIME
        both_BM = counted_BL[:, :-1] * counted_BL[:, 1:]
        buckets_BN = torch.cat([words_BL, pairs_BM], dim=1) % self.buckets
        return buckets_BN, torch.cat([counted_BL, both_BM], dim=1).to(self.weights.weight.dtype)

    def _tfidf(self, buckets_BN: Tensor, counted_BN: Tensor) -> Tensor:
        """(B, N): each place's share of its bucket's (1 + log tf) idf, over the length of the vector of buckets."""
        same_BNN = (buckets_BN[:, :, None] == buckets_BN[:, None, :]).to(counted_BN.dtype) * counted_BN[:, None, :]
        tf_BN = same_BNN.sum(dim=2).clamp(min=1.0)
        values_BN = counted_BN * (1 + tf_BN.log()) / tf_BN * self.idf_N[buckets_BN]
        length_B1 = (values_BN.square() * tf_BN).sum(dim=1, keepdim=True).sqrt()
        return values_BN / length_B1.clamp(min=1e-6)

    def hashed_words(self, input_ids_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        """The words' hashes (B, L) in [0, 2^31 - 1), in order from the left, and (B, L) 1 where there is a word."""
        counts_BL = mask_BL * (1 - self.ignored_V[input_ids_BL])
        starts_BL = counts_BL * (1 - self.goes_on_V[input_ids_BL])
        word_BL = starts_BL.cumsum(dim=1) - 1
        places_L = torch.arange(input_ids_BL.shape[1], device=input_ids_BL.device)
        hashed_BL = (input_ids_BL + 1) * _PIECE % _PRIME
        belongs_BLW = (word_BL[:, :, None] == places_L[None, None]) & (counts_BL[:, :, None] > 0)
        words_BW = (hashed_BL[:, :, None] * belongs_BLW.to(hashed_BL.dtype)).sum(dim=1) % _PRIME
        return words_BW, (places_L[None] < starts_BL.sum(dim=1, keepdim=True)).to(counts_BL.dtype)
