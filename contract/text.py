"""Title and overlay text -> token ids, through the bundle's own ``tokenizer.json``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from contract.errors import InvalidText
from contract.input_spec import InputSpec

_XVLM_DELETED = re.compile(r"""[,.'!?"()*#:;~]""")
_XVLM_SPACED = re.compile(r"[-/]")
_MAX_CHARS_PER_TOKEN = 200
"""WordPiece gives up on words longer than 100 characters, so text beyond budget x this is never read."""
_LIKELY_CHARS_PER_TOKEN = 16
"""A budget of tokens is mostly filled by so many characters each: the rest is then not tokenised to be thrown away."""
_MAX_MARKS = 30
"""Combining marks in a row that are read: the bound of Unicode's Stream-Safe Text Format (UAX 15, section 13), which
no writing reaches. Sorting a run of them takes NFC the square of its length."""
_MARKS_IN_DISGUISE = frozenset("\u0f73\u0f75\u0f81")
"""Not combining by their class, but NFC makes two combining marks of each."""


@dataclass(frozen=True)
class TokenisedText:
    """One example's text as ids.

    Attributes:
        input_ids: (L,) int64, 3 <= L <= ``InputSpec.max_text_tokens``.
        attention_mask: (L,) int64, all ones: padding is added by collation only.
        present: whether any field held text.
        truncated_fields: the fields of which the end was not read.
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    present: bool
    truncated_fields: tuple[str, ...]


def clean(text: str, cleaning: str) -> str:
    """The text as the tokenizer will see it: NFC, without control characters and endless marks, stripped."""
    text = unicodedata.normalize("NFC", text if text.isascii() else _without_endless_marks(text))
    text = "".join(c if c in "\t\n\r" or unicodedata.category(c) not in ("Cc", "Cs") else " " for c in text)
    if cleaning == "xvlm":
        text = _XVLM_SPACED.sub(" ", _XVLM_DELETED.sub("", text.lower()))
    return " ".join(text.split())


def _without_endless_marks(text: str) -> str:
    kept, run = [], 0
    for character in text:
        is_mark = unicodedata.combining(character) or character in _MARKS_IN_DISGUISE
        run = run + 1 if is_mark else 0
        if run <= _MAX_MARKS:
            kept.append(character)
    return "".join(kept)


class TextTokenizer:
    """Encodes text fields under their budgets. Safe to share between threads."""

    def __init__(self, source: Path | bytes, spec: InputSpec) -> None:
        """Reads ``tokenizer.json``, or takes its bytes.

        Raises:
            ValueError: the file has no [CLS], [SEP] or [PAD] token, or is no tokenizer.
        """
        try:
            self._tokenizer = Tokenizer.from_buffer(source if isinstance(source, bytes) else source.read_bytes())
        except Exception as error:  # the library raises bare Exception on a bad file
            name = "the tokenizer" if isinstance(source, bytes) else source.name
            raise ValueError(f"{name}: not a tokenizer: {error}") from error
        self._spec = spec
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # "[SEP]" typed into a title is text: as a token of its own it would move the border between the fields.
        self._tokenizer.encode_special_tokens = True
        self.cls_id, self.sep_id, self.pad_id = (self._special(t) for t in ("[CLS]", "[SEP]", "[PAD]"))
        self.vocab_size = self._tokenizer.get_vocab_size()

    def _special(self, token: str) -> int:
        token_id = self._tokenizer.token_to_id(token)
        if token_id is None:
            raise ValueError(f"the tokenizer has no {token} token")
        return int(token_id)

    def encode(self, texts: Mapping[str, str | None]) -> TokenisedText:
        """Token ids of ``[CLS] field [SEP] field [SEP] ...``; an absent field leaves its [SEP] alone.

        Args:
            texts: field name -> text. A missing key, None and blank text all mean "absent".

        Raises:
            InvalidText: a field the spec does not know, or text that is not valid Unicode.
        """
        known = {field.name for field in self._spec.text_fields}
        unknown = sorted(set(texts) - known)
        if unknown:
            raise InvalidText(f"unknown text field; this model reads {', '.join(sorted(known))}")
        ids: list[int] = [self.cls_id]
        truncated: list[str] = []
        present = False
        for field in self._spec.text_fields:
            pieces, cut = self._pieces(field.name, texts.get(field.name) or "", field.max_tokens)
            present |= bool(pieces)
            if cut:
                truncated.append(field.name)
            ids += [*pieces, self.sep_id]
        array = np.asarray(ids, dtype=np.int64)
        return TokenisedText(array, np.ones_like(array), present, tuple(truncated))

    def _pieces(self, name: str, text: str, max_tokens: int) -> tuple[list[int], bool]:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise InvalidText(f"{name} is not valid Unicode text") from None
        text = text.strip()
        readable = max_tokens * _MAX_CHARS_PER_TOKEN
        cleaned = clean(text[:readable], self._spec.text_cleaning)
        ids = self._ids_of_beginning(cleaned, max_tokens)
        if ids is None:
            ids = self._tokenizer.encode(cleaned, add_special_tokens=False).ids
        return ids[:max_tokens], len(ids) > max_tokens or len(text) > readable

    def _ids_of_beginning(self, cleaned: str, max_tokens: int) -> list[int] | None:
        """More than ``max_tokens`` ids that the whole text begins with, from its beginning alone; None if those are not
        so many. A word does not depend on what follows it, but the last one may have been cut, so it does not count.
        """
        beginning = cleaned[: max_tokens * _LIKELY_CHARS_PER_TOKEN]
        if len(beginning) == len(cleaned):
            return None
        read = self._tokenizer.encode(beginning, add_special_tokens=False)
        words = read.word_ids
        ids = [i for i, word in zip(read.ids, words, strict=True) if word != words[-1]]
        return ids if len(ids) > max_tokens else None
