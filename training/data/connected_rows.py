"""Connects rows that share a group, a clip or a text: a teacher of one has seen a part of the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from training.data.manifest import TEXT_FIELDS, Row, text_key


def connected_groups(rows: Sequence[Row]) -> list[str]:
    """For each row the name of the connected groups it stands in: the first of their names.

    Groups are connected where they share a clip, or a text that is all of some row: a composed row shows the clip of
    one row under the title of another, and a teacher trained on either has seen a part of it. A title
    that only clips have may repeat ("untitled") and connects nothing.
    """
    whole_texts = {text_of(row) for row in rows if row.video is None}
    contents: list[tuple[str, object]] = []
    owners: list[int] = []
    names = sorted({row.group for row in rows})
    position = {name: g for g, name in enumerate(names)}
    for row in rows:
        text = text_of(row)
        shared: list[tuple[str, object]] = [("video", row.video)] if row.video is not None else []
        shared += [("text", text)] if text is not None and text in whole_texts else []
        contents += shared
        owners += [position[row.group]] * len(shared)
    nodes = {content: len(names) + n for n, content in enumerate(dict.fromkeys(contents))}
    edges = np.ones(len(owners)), (np.asarray(owners, np.int64), np.asarray([nodes[c] for c in contents], np.int64))
    size = len(names) + len(nodes)
    labels = connected_components(coo_array(edges, shape=(size, size)), directed=False)[1][: len(names)]
    first: dict[int, str] = {}
    for name, label in zip(names, labels.tolist(), strict=True):
        first.setdefault(label, name)
    return [first[int(labels[position[row.group]])] for row in rows]


def groups_of_titles(rows: Sequence[Row]) -> dict[str, str]:
    """Row id -> group of the row that its text was taken from, for rows that show a clip under another row's text.

    Such a row stands in two groups: its own, which is its clip's, and this one.
    """
    owners = {text: row.group for row in reversed(rows) if row.video is None and (text := text_of(row)) is not None}
    return {
        row.id: owners[text]
        for row in rows
        if row.video is not None and (text := text_of(row)) in owners and owners[text] != row.group
    }


def text_of(row: Row) -> tuple[str, ...] | None:
    """The row's texts as ``text_key`` tells them apart, in the order of ``TEXT_FIELDS``; None without a letter."""
    keys = tuple(text_key(row.texts.get(field, "")) for field in TEXT_FIELDS)
    return keys if any(keys) else None
