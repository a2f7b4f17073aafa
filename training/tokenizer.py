"""The ``tokenizer.json`` that a run encodes with and a bundle carries: WordPiece, lower-cased as bert-base-uncased."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


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
    """Writes a WordPiece tokenizer of at most ``vocab_size`` pieces learned from training texts."""
    tokenizer = _prepared(WordPiece(unk_token="[UNK]"))
    trainer = WordPieceTrainer(vocab_size=vocab_size, special_tokens=_SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(path), pretty=False)
