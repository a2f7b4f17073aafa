"""The ``tokenizer.json`` that a run encodes with and a bundle carries: WordPiece, lower-cased as bert-base-uncased."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_MOST_CHARACTERS = 1000
"""Rarer ones are unknown."""


def _prepared(model: WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def tokenizer_from_vocabulary(vocabulary: Path, path: Path) -> None:
    """Writes the tokenizer of a BERT ``vocab.txt`` (one piece a line, its line number its id).

    Raises:
        ValueError: a special token is missing.
    """
    pieces = vocabulary.read_text(encoding="utf-8").splitlines()
    missing = [token for token in _SPECIAL if token not in pieces]
    if missing:
        raise ValueError(f"{vocabulary}: lacks {', '.join(missing)}")
    _prepared(WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]")).save(str(path), pretty=False)


def train_tokenizer(texts: Iterable[str], vocab_size: int, path: Path) -> None:
    """Writes a WordPiece tokenizer of at most ``vocab_size`` pieces learned from training texts.

    The same texts give the same file. The library numbers the first pieces in the order of a hash table that differs
    from call to call, and breaks ties between merges by these numbers; so they are given to it in an order of ours.
    """
    known = list(texts)
    learner = _prepared(WordPiece(unk_token="[UNK]"))
    alphabet, inner = _characters(learner, known)
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*_SPECIAL, *(f"##{character}" for character in inner)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    learner.train_from_iterator(known, trainer)
    tokenizer = _prepared(WordPiece(learner.get_vocab(), unk_token="[UNK]"))
    tokenizer.add_special_tokens(_SPECIAL)
    tokenizer.save(str(path), pretty=False)


def _characters(tokenizer: Tokenizer, texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """The most frequent characters of the texts' words, and those of them that stand behind a word's first."""
    counts: Counter[str] = Counter()
    inner: set[str] = set()
    for text in texts:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            counts.update(word)
            inner.update(word[1:])
    alphabet = sorted(sorted(counts), key=lambda character: -counts[character])[:_MOST_CHARACTERS]
    return alphabet, [character for character in alphabet if character in inner]
