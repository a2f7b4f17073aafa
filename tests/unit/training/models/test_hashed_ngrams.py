"""The hashed path sees whole words and pairs of them, and nothing else."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from contract.decision import TaskKind, TaskSpec
from training.config import TextConfig
from training.models.hashed_ngrams import HashedNgrams

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "gun", "##s", "##hip", "free", "gift", "s")
TASKS = (
    TaskSpec(name="violence", kind=TaskKind.BINARY, labels=("calm", "violent")),
    TaskSpec(name="topics", kind=TaskKind.MULTILABEL, labels=("news", "sport", "music")),
)
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=12)


def _ngrams(buckets: int = 4099, *, ones: bool = False, weighting: Literal["count", "tfidf"] = "count") -> HashedNgrams:
    config = TextConfig(
        vocab_size=len(PIECES),
        embedding_size=8,
        hidden_size=8,
        heads=1,
        ffn_size=8,
        text_layers=0,
        cross_layers=1,
        ngram_buckets=buckets,
        ngram_weighting=weighting,
    )
    model = HashedNgrams(config, TASKS)
    model.read_vocabulary(PIECES)
    torch.manual_seed(0)
    with torch.no_grad():
        model.weights.weight.fill_(1.0) if ones else model.weights.weight.normal_()
    return model


MODEL, ONES = _ngrams(), _ngrams(ones=True)


def _encoded(*texts: str, length: int = 14) -> tuple[Tensor, Tensor]:
    rows = [[PIECES.index(piece) for piece in text.split()] for text in texts]
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])


@torch.no_grad()
def _logits(*texts: str, model: HashedNgrams = MODEL, length: int = 14) -> Tensor:
    found = model(*_encoded(*texts, length=length))
    assert [tuple(found[task.name].shape) for task in TASKS] == [(len(texts), 1), (len(texts), 3)]
    return torch.cat(list(found.values()), dim=1)


def _words(text: str) -> list[int]:
    """The hashes of a text's words, one word after the other."""
    words: list[int] = []
    for piece in text.split():
        if piece in ("[PAD]", "[CLS]", "[SEP]", "[MASK]"):
            continue
        hashed = (PIECES.index(piece) + 1) * 1_000_003 % 2_147_483_647
        if not piece.startswith("##"):
            words.append(hashed)
        elif words:
            words[-1] = (words[-1] + hashed) % 2_147_483_647
    return words


@given(TEXTS)
def test_words_and_pairs_are_those_counted_by_hand(pieces: list[str]) -> None:
    text = " ".join(pieces)
    words = _words(text)
    hashes, counted = MODEL.hashed_words(*_encoded(text))
    assert hashes[0][counted[0] == 1].tolist() == words
    assert counted[0].tolist() == [1] * len(words) + [0] * (14 - len(words))
    pairs = [(a * 16_777_619 % 2_147_483_647 + b + 17) % 2_147_483_647 for a, b in pairwise(words)]
    rows = MODEL.weights.weight.detach()[[hashed % 4099 for hashed in words + pairs]]
    torch.testing.assert_close(_logits(text)[0], rows.sum(0) / math.sqrt(max(1, len(words + pairs))))


@pytest.mark.parametrize("other", ["gun", "gun s", "gun ##hip", "gun ##s ##hip", "free ##s"])
def test_a_word_is_all_its_pieces(other: str) -> None:
    assert not torch.allclose(_logits("gun ##s"), _logits(other))


def test_a_word_counts_once_however_many_its_pieces() -> None:
    whole, cut = _logits("gun free", "gun ##s ##hip free", model=ONES)
    assert torch.equal(whole, cut)


@given(TEXTS, st.integers(12, 30))
def test_padding_and_neighbours_in_the_batch_change_nothing(pieces: list[str], length: int) -> None:
    text = " ".join(pieces)
    torch.testing.assert_close(_logits("free gift", text, "gun", length=length)[1:2], _logits(text, length=len(pieces)))


def test_what_the_mask_leaves_out_is_not_read() -> None:
    ids, mask = _encoded("gun ##s free gift")
    mask[0, 1], mask[0, 3] = 0, 0
    torch.testing.assert_close(torch.cat(list(MODEL(ids, mask).values()), dim=1), _logits("gun free"))


@pytest.mark.parametrize("text", ["[CLS] gun ##s free [SEP]", "gun ##s [MASK] free", "[PAD] gun ##s free [PAD]"])
def test_special_tokens_are_no_words(text: str) -> None:
    assert torch.equal(_logits(text), _logits("gun ##s free"))


def test_an_unknown_word_is_a_word() -> None:
    assert not torch.equal(_logits("gun [UNK]"), _logits("gun"))


@pytest.mark.parametrize("text", ["", "[CLS] [SEP]", "##s"])
def test_without_words_all_logits_are_zero(text: str) -> None:
    assert not _logits(text, model=ONES).any()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_pairs_are_counted_and_long_texts_scaled(count: int) -> None:
    terms = 2 * count - 1
    text = " ".join(["gun"] * count)
    torch.testing.assert_close(_logits(text, model=ONES), torch.full((1, 4), terms / math.sqrt(terms)))


def test_the_order_of_words_counts() -> None:
    assert not torch.allclose(_logits("free gift"), _logits("gift free"))


def test_a_new_path_gives_zeros() -> None:
    config = TextConfig(embedding_size=8, hidden_size=8, heads=1, ffn_size=8, text_layers=0, cross_layers=1)
    fresh = HashedNgrams(config.model_copy(update={"ngram_buckets": 64}), TASKS)
    assert not _logits("free gift", model=fresh).any()


TRAINING = ("gun ##s free gift", "free gift", "free free free s", "[CLS] s [UNK] [SEP]", "gun ##s ##hip")


def _terms(text: str) -> list[str]:
    words = _words(text)
    pairs = [(a * 16_777_619 % 2_147_483_647 + b + 17) % 2_147_483_647 for a, b in pairwise(words)]
    return [str(hashed % 4099) for hashed in words + pairs]


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize(
    "text", [*TRAINING, "free", "free free free free s", "gun ##s free free gift", "[SEP] gun ##s free"]
)
def test_by_tfidf_it_is_what_scikit_learn_makes_of_the_same_terms(batch: int, text: str) -> None:
    """Of terms that training texts hold: others are unknown there, and count in the vector's length here."""
    model = _ngrams(weighting="tfidf")
    model.read_texts(_encoded(*TRAINING[i : i + batch]) for i in range(0, len(TRAINING), batch))
    theirs = TfidfVectorizer(analyzer=_terms, sublinear_tf=True).fit(TRAINING)
    assert set(_terms(text)) <= set(theirs.vocabulary_)
    row = theirs.transform([text])
    buckets = [int(name) for name in theirs.get_feature_names_out()]
    expected = torch.from_numpy(row.toarray()[0]).float() @ model.weights.weight.detach()[buckets]
    torch.testing.assert_close(_logits(text, model=model, length=40)[0], expected, atol=1e-5, rtol=1e-4)


def test_by_tfidf_a_word_that_is_everywhere_tells_less_than_a_rare_one() -> None:
    model = _ngrams(ones=True, weighting="tfidf")
    model.read_texts([_encoded("free gun", "free s", "free gift", "free")])
    buckets, _ = model.hashed_terms(*_encoded("free gun", length=2))
    free, gun = model.idf_N[buckets[0, :2]].tolist()
    assert free == pytest.approx(1.0)
    assert gun == pytest.approx(math.log(5 / 2) + 1)
    assert "idf_N" in model.state_dict()


@pytest.mark.parametrize("text", ["", "[CLS] [SEP]"])
def test_by_tfidf_a_text_without_words_gives_zeros(text: str) -> None:
    assert not _logits(text, model=_ngrams(ones=True, weighting="tfidf")).any()


def test_by_tfidf_padding_changes_nothing() -> None:
    model = _ngrams(weighting="tfidf")
    model.read_texts([_encoded(*TRAINING)])
    torch.testing.assert_close(
        _logits("gun ##s free free", "gift", model=model, length=30)[:1], _logits("gun ##s free free", model=model)
    )
