"""The ``tokenizer.json`` that a run encodes with and a bundle carries: WordPiece, lower-cased as bert-base-uncased.

Not ``BertWordPieceTokenizer``: its file has a post-processor that adds [CLS] and [SEP]; here ``contract.text`` does.
"""

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
    """Writes the tokenizer of a BERT ``vocab.txt`` (one piece a line, its line number its id) or ``tokenizer.json``.

    Raises:
        ValueError: a special token is missing, or the file is no WordPiece vocabulary.
    """
    if vocabulary.suffix == ".json":
        _write_pieces(pieces_of(vocabulary), path)
        return
    pieces = vocabulary.read_text(encoding="utf-8").splitlines()
    missing = [token for token in _SPECIAL if token not in pieces]
    if missing:
        raise ValueError(f"{vocabulary}: lacks {', '.join(missing)}")
    _write_pieces(pieces, path)


def pieces_of(tokenizer: Path) -> list[str]:
    """The pieces of a ``tokenizer.json`` in the order of their ids.

    Raises:
        ValueError: it cannot be read, is no WordPiece, or lacks a special token.
    """
    try:
        found = Tokenizer.from_file(str(tokenizer))
    except Exception as error:  # the library raises Exception itself
        raise ValueError(f"{tokenizer}: not a tokenizer.json: {error}") from error
    if not isinstance(found.model, WordPiece):
        raise ValueError(f"{tokenizer}: holds a {type(found.model).__name__}, not a WordPiece vocabulary")
    vocabulary = found.get_vocab()
    missing = [token for token in _SPECIAL if token not in vocabulary]
    if missing:
        raise ValueError(f"{tokenizer}: lacks {', '.join(missing)}")
    return sorted(vocabulary, key=vocabulary.__getitem__)


def trim_vocabulary(path: Path, texts: Iterable[str], size: int) -> None:
    """Cuts the tokenizer at ``path`` to the ``size`` pieces that the texts use most; their order stays.

    Special tokens and single characters are kept whatever their number, so that a word whose piece is gone is read in
    smaller ones and not as unknown. A vocabulary that is small enough stays as it is.
    """
    pieces = pieces_of(path)
    if len(pieces) <= size:
        return
    tokenizer = Tokenizer.from_file(str(path))
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(tokenizer.encode(text, add_special_tokens=False).tokens)
    basic = [p for p in pieces if p in _SPECIAL or len(p.removeprefix("##")) == 1]
    kept = set(sorted(basic, key=lambda p: (p not in _SPECIAL, -counts[p]))[:size])
    place = {piece: i for i, piece in enumerate(pieces)}
    for piece in sorted(pieces, key=lambda p: (-counts[p], place[p])):
        if len(kept) >= size:
            break
        kept.add(piece)
    _write_pieces([piece for piece in pieces if piece in kept], path)


def _write_pieces(pieces: list[str], path: Path) -> None:
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
