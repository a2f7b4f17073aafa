"""A learned vocabulary is a function of the texts."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordPiece

from training.data.tokenizer import pieces_of, tokenizer_from_vocabulary, train_tokenizer, trim_vocabulary

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = ["a", "##a", "b", "##b", "c", "##c"]
LONGER = ["bac", "abc", "##bc", "cab", "##ab"]

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


def _hand_made(tmp_path: Path) -> Path:
    """Pieces in an order of their own: words first, special tokens last."""
    (tmp_path / "vocab.txt").write_text("\n".join([*LONGER, *CHARACTERS, *SPECIAL]))
    tokenizer_from_vocabulary(tmp_path / "vocab.txt", tmp_path / "tokenizer.json")
    return tmp_path / "tokenizer.json"


def _tokens(path: Path, text: str) -> list[str]:
    return list(Tokenizer.from_file(str(path)).encode(text).tokens)


def test_a_trimmed_vocabulary_keeps_what_is_used_most_in_its_order(tmp_path: Path) -> None:
    path = _hand_made(tmp_path)
    trim_vocabulary(path, ["cab abc", "cab bbc", "cab bbc abc"], 13)
    # cab thrice, abc and ##bc twice each: of equals the first
    assert pieces_of(path) == ["abc", "cab", *CHARACTERS, *SPECIAL]
    assert list(Tokenizer.from_file(str(path)).get_vocab().values()).count(12) == 1
    assert _tokens(path, "CAB abc bac") == ["cab", "abc", "b", "##a", "##c"]  # in smaller pieces, not unknown


@pytest.mark.parametrize("size", [11, 12, 15, 16, 40])
def test_special_tokens_and_characters_outlive_any_trimming(tmp_path: Path, size: int) -> None:
    path = _hand_made(tmp_path)
    before = pieces_of(path)
    trim_vocabulary(path, ["bac cab"], size)
    after = pieces_of(path)
    assert len(after) == min(size, len(before))
    assert set(SPECIAL) | set(CHARACTERS) <= set(after)
    assert after == [piece for piece in before if piece in after]


def test_too_small_a_size_keeps_special_tokens_and_the_commonest_characters(tmp_path: Path) -> None:
    path = _hand_made(tmp_path)
    trim_vocabulary(path, ["b b b a a c cab cab cab cab"], 7)
    assert pieces_of(path) == ["a", "b", *SPECIAL]


def test_a_vocabulary_that_is_small_enough_stays_byte_for_byte(tmp_path: Path) -> None:
    train_tokenizer(_texts(), 60, tmp_path / "tokenizer.json")
    before = (tmp_path / "tokenizer.json").read_bytes()
    trim_vocabulary(tmp_path / "tokenizer.json", _texts(), 60)
    assert (tmp_path / "tokenizer.json").read_bytes() == before


def test_a_tokenizer_json_is_taken_piece_by_piece(tmp_path: Path) -> None:
    train_tokenizer(_texts(), 60, tmp_path / "theirs.json")
    tokenizer_from_vocabulary(tmp_path / "theirs.json", tmp_path / "tokenizer.json")
    theirs, ours = (Tokenizer.from_file(str(tmp_path / name)) for name in ("theirs.json", "tokenizer.json"))
    assert theirs.get_vocab() == ours.get_vocab()
    for text in ("Free GIVEAWAY, été", "win 新聞 x"):
        assert theirs.encode(text).ids == ours.encode(text).ids


def test_what_is_no_wordpiece_vocabulary_is_refused(tmp_path: Path) -> None:
    pieces = {piece: i for i, piece in enumerate(SPECIAL)}
    Tokenizer(BPE(vocab=pieces, merges=[], unk_token="[UNK]")).save(str(tmp_path / "bpe.json"))
    del pieces["[MASK]"]
    Tokenizer(WordPiece(pieces, unk_token="[UNK]")).save(str(tmp_path / "short.json"))
    (tmp_path / "text.json").write_text("[PAD]")
    (tmp_path / "short.txt").write_text("[PAD]\n[UNK]\n[CLS]\n")
    for name, reason in (
        ("bpe.json", "holds a BPE, not a WordPiece vocabulary"),
        ("short.json", r"lacks \[MASK\]"),
        ("text.json", "not a tokenizer.json"),
        ("short.txt", r"lacks \[SEP\], \[MASK\]"),
    ):
        with pytest.raises(ValueError, match=reason):
            tokenizer_from_vocabulary(tmp_path / name, tmp_path / "out.json")
        assert not (tmp_path / "out.json").exists()
