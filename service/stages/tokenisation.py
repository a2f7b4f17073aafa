"""Tokenisation: the texts a caller sent -> ids, under the arm's own budgets."""

from __future__ import annotations

from collections.abc import Mapping

from contract.bundle import Bundle
from contract.text import TokenisedText


def tokenise(texts: Mapping[str, str], bundle: Bundle) -> tuple[TokenisedText, tuple[str, ...]]:
    """The ids, and the fields that hold text this arm's model does not read.

    An arm is chosen by a hash, not by the caller: a field that its model lacks is left unread and named in
    the reply, instead of refusing what the other arm would have taken.

    Raises:
        InvalidText: text that is not valid Unicode.
    """
    known = {field.name for field in bundle.manifest.input_spec.text_fields}
    unread = tuple(name for name, text in texts.items() if name not in known and text.strip())
    return bundle.tokenizer.encode({name: text for name, text in texts.items() if name in known}), unread
