"""Which titles may be trained on: none that also stands in a held-out split, whatever its punctuation and numbers."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from recipes.demonstration.csv_table import Record
from training.data.manifest import SPLITS, Split, text_key


def title_keys(records: list[Record], column: str, splits: tuple[Split, ...]) -> set[str]:
    """The keys (``text_key``) of the titles in ``column`` of the records in ``splits``.

    Raises:
        ManifestError: a record's split is none of the three.
    """
    return {text_key(r.text(column)) for r in records if r.one_of("split", SPLITS) in splits} - {""}


def without_held_out(records: list[Record], column: str, also_held_out: Collection[str]) -> list[Record]:
    """The records, less train titles that stand in val, test or ``also_held_out``, and val titles that stand in test.

    Raises:
        ManifestError: a record's split is none of the three.
    """
    keys = {split: title_keys(records, column, (split,)) for split in SPLITS}
    barred: dict[Split, Collection[str]] = {
        "train": keys["val"] | keys["test"] | set(also_held_out),
        "val": keys["test"],
        "test": (),
    }
    return [r for r in records if text_key(r.text(column)) not in barred[cast(Split, r.text("split"))]]
