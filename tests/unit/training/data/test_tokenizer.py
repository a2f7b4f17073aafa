"""A learned vocabulary is a function of the texts."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tokenizers import Tokenizer

from training.data.tokenizer import train_tokenizer

WORDS = ("giveaway", "sports", "match", "win", "free", "live", "gift", "race", "song", "été", "[sep]", "新聞")


def _texts() -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=6)) for _ in range(40)]


def test_the_same_texts_give_the_same_file(tmp_path: Path) -> None:
    for n in range(4):
        train_tokenizer(_texts(), 60, tmp_path / f"{n}.json")
    assert len({(tmp_path / f"{n}.json").read_bytes() for n in range(4)}) == 1


def test_the_vocabulary_is_a_wordpiece_of_the_texts(tmp_path: Path) -> None:
    train_tokenizer(_texts(), 60, tmp_path / "tokenizer.json")
    document = json.loads((tmp_path / "tokenizer.json").read_text())
    assert [token["content"] for token in document["added_tokens"]] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert [token["id"] for token in document["added_tokens"]] == [0, 1, 2, 3, 4]
    assert sorted(document["model"]["vocab"].values()) == list(range(60))
    encoded = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("Free GIVEAWAY ##a win, x")
    assert encoded.tokens[0] == "free"
    assert "[UNK]" in encoded.tokens  # x, the comma and # are in none of the texts
    assert "".join(encoded.tokens).replace("##", "").startswith("freegiveaway")


def test_no_texts_leave_the_special_tokens(tmp_path: Path) -> None:
    train_tokenizer([], 60, tmp_path / "tokenizer.json")
    assert len(json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]) == 5
