"""Title rows of a fixed split -> rows of folds by channel, for cross-validation over every channel there is."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable

from training.data.manifest import Row, text_key


def rank(seed: int, name: str) -> str:
    """A hash to sort by: an order that knows no label and no other name."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def in_channel_folds(
    rows: Iterable[Row],
    folds: int,
    *,
    positive: Callable[[Row], bool],
    seed: int = 0,
    max_per_channel: int | None = None,
    barred: Collection[str] = frozenset(),
) -> list[Row]:
    """The rows with a fold in place of their split; all rows of a channel (``Row.group``) are in one fold.

    Folds hold about as many positives and negatives each: channels are dealt, those with most positives first, to the
    fold that has fewest; channels without any to the fold with fewest negatives. A title that stands in several
    channels (whatever its punctuation, case and numbers) is kept in one, so that none straddles folds.

    Args:
        rows: with a title each.
        folds: how many.
        positive: what is dealt evenly.
        seed: of the choice of titles and of the order among equal channels.
        max_per_channel: keep so many titles of a channel, chosen by a hash; None keeps all.
        barred: keys (``text_key``) of titles to leave out.
    """
    channels: dict[str, list[Row]] = defaultdict(list)
    seen: dict[str, str] = {}
    for row in sorted(rows, key=lambda r: rank(seed, r.id)):
        key = text_key(row.texts["title"])
        if key in barred or (key and seen.setdefault(key, row.group) != row.group):
            continue
        channels[row.group].append(row)
    kept = {name: titles[:max_per_channel] for name, titles in channels.items()}
    loads = [[0, 0] for _ in range(folds)]
    dealt: list[Row] = []
    positives = {name: sum(map(positive, titles)) for name, titles in kept.items()}
    for name in sorted(kept, key=lambda n: (-positives[n], -len(kept[n]), rank(seed, n))):
        counts = positives[name], len(kept[name]) - positives[name]
        counted = 0 if counts[0] else 1
        fold = min(range(folds), key=lambda f: (loads[f][counted], f))
        loads[fold] = [load + more for load, more in zip(loads[fold], counts, strict=True)]
        dealt += [row.model_copy(update={"split": None, "fold": fold}) for row in kept[name]]
    return sorted(dealt, key=lambda row: row.id)
