"""Groups -> parts of given shares, so that every part holds every class; the same seed gives the same parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_TRIES = 200
_WORK = 2_000_000


@dataclass(frozen=True)
class Parts:
    """Group -> the index of its part; and the classes that stand in fewer groups than there are parts."""

    part_of: Mapping[str, int]
    scarce: Mapping[str, int]


def assign(groups: Sequence[str], classes: Sequence[Sequence[str]], shares: Sequence[float], seed: int) -> Parts:
    """Which part each group goes to: of a number of random orders, the one that shares rows and classes best.

    Args:
        groups: of each row.
        classes: of each row, the classes that it is of, such as ``risky=yes``; each is to stand in every part.
        shares: of the rows, one a part; they add up to 1.
        seed: of the orders that are tried.
    """
    names = sorted(set(groups))
    position = {name: g for g, name in enumerate(names)}
    kinds = sorted({kind for row in classes for kind in row})
    column = {kind: k for k, kind in enumerate(kinds)}
    rows_G = np.zeros(len(names))
    holds_GK = np.zeros((len(names), len(kinds)))
    for group, row in zip(groups, classes, strict=True):
        rows_G[position[group]] += 1
        for kind in row:
            holds_GK[position[group], column[kind]] = 1
    scarce = {kind: int(holds_GK[:, k].sum()) for kind, k in column.items() if holds_GK[:, k].sum() < len(shares)}
    rng = np.random.default_rng(seed)
    best: tuple[float, NDArray[np.int64]] | None = None
    for _ in range(max(5, min(_TRIES, _WORK // max(1, len(names) * len(shares))))):
        parts_G = _deal(rng.permutation(len(names)), rows_G, np.asarray(shares))
        score = _score(parts_G, rows_G, holds_GK, np.asarray(shares))
        if best is None or score < best[0]:
            best = score, parts_G
    assert best is not None
    return Parts({name: int(best[1][g]) for name, g in position.items()}, scarce)


def _deal(order: NDArray[np.int64], rows_G: Array, shares_P: Array) -> NDArray[np.int64]:
    """Each group in turn goes to the part that lacks most of its share."""
    want_P = shares_P * rows_G.sum()
    have_P = np.zeros(len(shares_P))
    parts_G = np.zeros(len(rows_G), np.int64)
    for g in order:
        part = int(np.argmax((want_P - have_P) / want_P))
        parts_G[g] = part
        have_P[part] += rows_G[g]
    return parts_G


def _score(parts_G: NDArray[np.int64], rows_G: Array, holds_GK: Array, shares_P: Array) -> float:
    """0 is best: how far shares of rows and of each class's groups are off; a class that a part lacks weighs most."""
    rows_P = np.bincount(parts_G, weights=rows_G, minlength=len(shares_P))
    off = float(np.abs(rows_P / rows_G.sum() - shares_P).sum())
    if not holds_GK.shape[1]:
        return off
    held_PK = np.stack([holds_GK[parts_G == p].sum(axis=0) for p in range(len(shares_P))])
    shared_PK = held_PK / np.maximum(1, held_PK.sum(axis=0))
    return off + float(np.abs(shared_PK - shares_P[:, None]).sum()) + 10.0 * float((held_PK == 0).sum())
