"""What a model takes from training rows before a step: the same whether frozen layers' output is kept or not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from contract.text import TextTokenizer
from contract.video import DecodeLimits
from tests.moment_model import SPEC, TITLE, moment_config
from training.data.frames.frame_cache import FrameCache
from training.data.loading.row_set import RowSet, row_set, with_trunk_features
from training.data.manifest import Row
from training.data.tokenizer import train_tokenizer
from training.fitting.trunk_features import keep_text_features, read_rows
from training.models.moment_xvlm import MomentXVLM
from training.models.text_encoder import attention_bias

TITLES = ("free gift inside", "free free cat", "the senate votes", "cat", "a gift for the senate", "")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(iter(TITLES), 60, path)
    return path


def model_of(tokenizer: Path) -> MomentXVLM:
    torch.manual_seed(0)
    text = {"frozen": True, "alone": "pooled", "ngram_weighting": "tfidf", "dropout": 0.5}
    text["vocab_size"] = TextTokenizer(tokenizer, SPEC).vocab_size
    return MomentXVLM(moment_config(text=text), SPEC, (TITLE,))


def rows_of(tokenizer: Path, cache: Path) -> RowSet:
    rows = [
        Row(id=f"r{n}", texts={"title": title}, labels={"title": "no"}, split="train", group=f"g{n}")
        for n, title in enumerate(TITLES)
    ]
    frames = FrameCache.build([], lambda row: None, SPEC, DecodeLimits(), cache, progress=False)
    return row_set(rows, (TITLE,), SPEC, TextTokenizer(tokenizer, SPEC), frames)


@pytest.mark.parametrize("kept", [False, True])
def test_means_deviations_and_rarities_are_those_of_the_texts_that_are_there(
    kept: bool, tokenizer: Path, tmp_path: Path
) -> None:
    model, rows = model_of(tokenizer), rows_of(tokenizer, tmp_path)
    assert model.pooled_text is not None
    assert model.ngrams is not None
    if kept:
        texts = keep_text_features(model_of(tokenizer).eval(), rows.rows, rows.tokenizer, {"title"}, tmp_path)
        rows = with_trunk_features(rows, None, texts)
    read_rows(model, rows, tokenizer)
    present = [torch.from_numpy(text.input_ids)[None].long() for text in rows.texts if text.present]
    assert len(present) == len(TITLES) - 1
    encoder = model_of(tokenizer).eval().text_encoder
    with torch.no_grad():
        means = torch.stack([encoder(ids, attention_bias(torch.ones_like(ids)))[0].mean(dim=0) for ids in present])
    close = {"atol": 2e-3, "rtol": 2e-3}  # kept as fp16
    torch.testing.assert_close(model.pooled_text.mean_D, means.mean(dim=0), **close)
    torch.testing.assert_close(model.pooled_text.deviation_D, means.std(dim=0, unbiased=False).clamp(min=1e-4), **close)
    holding = torch.zeros(model.ngrams.buckets)
    for ids in present:
        buckets, counted = model.ngrams.hashed_terms(ids, torch.ones_like(ids))
        holding[buckets[0][counted[0] > 0].unique()] += 1
    assert holding.max() > 1
    torch.testing.assert_close(model.ngrams.idf_N, torch.log((1 + len(present)) / (1 + holding)) + 1)
