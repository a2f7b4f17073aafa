"""What frozen encoders make of clips and texts, kept on disk: an epoch of the rest then takes seconds.

Both stores are small enough to be sent to worker processes: they hold paths, not arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

EMPTY_TEXT = ""
"""The key of a row without text."""


class TrunkFeaturesError(ValueError):
    """Stored features that are missing or damaged. The message names the file."""


@dataclass(frozen=True)
class ClipFeatures:
    """The frozen vision trunk's output.

    Attributes:
        identity: SHA-256 of everything that decides it: weights, input spec, augmentation.
        files: row id -> ``.npy`` of (V, K, F) float16: V views of a clip, the first of them unchanged.
        views: V.
        width: F.
    """

    identity: str
    files: Mapping[str, Path]
    views: int
    width: int

    def features(self, row_id: str, view: int) -> NDArray[np.float32]:
        """(K, F) float32 of one view.

        Raises:
            TrunkFeaturesError: the file is missing, cut short or holds what is no number.
        """
        path = self.files[row_id]
        try:
            found = np.load(path, mmap_mode="r", allow_pickle=False)
            chosen = np.asarray(found[view], np.float32)
        except (OSError, ValueError, IndexError, EOFError) as error:
            raise TrunkFeaturesError(f"{path}: no features of {self.views} views: remove it to make it anew") from error
        if chosen.ndim != 2 or not np.isfinite(chosen).all():
            raise TrunkFeaturesError(f"{path}: holds what is no number: remove it to make it anew")
        return chosen


@dataclass(frozen=True)
class TextFeatures:
    """The frozen text layers' output.

    Attributes:
        identity: SHA-256 of weights and token ids.
        path: ``.npy`` of (L_total, D) float16, text after text.
        spans: row id, or ``EMPTY_TEXT`` -> first row and the row after the last.
    """

    identity: str
    path: Path
    spans: Mapping[str, tuple[int, int]]

    @cached_property
    def _tokens(self) -> NDArray[np.float16]:
        try:
            tokens: NDArray[np.float16] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise TrunkFeaturesError(f"{self.path}: cannot be read: remove it to make it anew") from error
        return tokens

    def features(self, row_id: str) -> NDArray[np.float32]:
        """(L, D) float32 of the row's text, or of the empty text for a row without.

        Raises:
            TrunkFeaturesError: the file is missing or damaged.
        """
        start, stop = self.spans.get(row_id, self.spans[EMPTY_TEXT])
        return np.asarray(self._tokens[start:stop], np.float32)
