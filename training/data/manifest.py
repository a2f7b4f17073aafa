"""What a training set is: rows, the tasks they answer, the privileged features some of them carry.

A row belongs either to a fixed split or to a fold; one manifest may hold both kinds. ``group`` names what
must not stand on both sides of a split: a source video, a channel, a background.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from contract.decision import TaskSpec
from contract.frozen import FrozenDocument

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
TEXT_FIELDS = ("title", "overlay_text")
MIN_FOLDS = 3
"""One to test on, one to calibrate on, one or more to train on."""


class Row(FrozenDocument):
    """One example. Faults of content (unknown labels, NaN, two splits) are ``training.data.validation``'s to find."""

    model_config = ConfigDict(allow_inf_nan=True)

    id: str = Field(min_length=1)
    video: str | None = None
    """Path of the clip, relative to the manifest's ``media_root`` or absolute."""
    window_ms: tuple[float, float] | None = None
    """Only this span of the clip counts, in ms from its first picture."""
    texts: dict[str, str] = Field(default_factory=dict)
    """Text field -> text; a subset of ``TEXT_FIELDS``."""
    labels: dict[str, str | list[str]] = Field(default_factory=dict)
    """Task -> label (a list of labels for a multilabel task). A task that is absent is not labelled."""
    privileged: dict[str, dict[str, float | None]] = Field(default_factory=dict)
    """Group -> feature -> value; None where the value is missing."""
    split: Split | None = None
    fold: int | None = None
    """Exactly one of ``split`` and ``fold`` is set."""
    group: str = Field(min_length=1)
    """What must not straddle splits."""
    slices: dict[str, str] = Field(default_factory=dict)
    """Slice -> value, for reports apart: ``{"sensor": "IR"}``."""
    view_count: float | None = None


class PrivilegedGroup(FrozenDocument):
    """Features that only the teacher reads, known or missing together with one source."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    features: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _features_differ(self) -> PrivilegedGroup:
        if len(set(self.features)) != len(self.features):
            raise ValueError(f"privileged group {self.name}: features must differ")
        return self


class Manifest(FrozenDocument):
    """A training set."""

    name: str = Field(min_length=1)
    tasks: tuple[TaskSpec, ...] = Field(min_length=1)
    privileged_groups: tuple[PrivilegedGroup, ...] = ()
    folds: int = Field(default=0, ge=0)
    """How many folds the fold rows use; 0 where there are none."""
    media_root: str = "."
    """Where relative video paths start. Not part of the digest."""
    rows_file: str = "rows.jsonl"
    """The file that the rows were read from, as faults name it. Not part of the digest."""
    rows: tuple[Row, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        for what, names in (
            ("tasks", [t.name for t in self.tasks]),
            ("privileged_groups", [g.name for g in self.privileged_groups]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} must have different names")
        if 0 < self.folds < MIN_FOLDS:
            raise ValueError(f"folds must be 0 or at least {MIN_FOLDS}")
        return self

    def digest(self) -> str:
        """SHA-256, in hex, of everything but ``media_root`` and ``rows_file``: the same wherever it lies."""
        canonical = json.dumps(
            self.model_dump(mode="python", exclude={"media_root", "rows_file"}), sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(canonical.encode()).hexdigest()

    def split_rows(self, test_fold: int | None = None) -> dict[Split, list[Row]]:
        """Split -> its rows, in the manifest's order.

        A fold row is tested on where its fold is ``test_fold``, validated on where it is the next one
        (modulo ``folds``) and trained on elsewhere. A split row stays in its split.

        Args:
            test_fold: in [0, folds); None exactly where the manifest has no fold rows.

        Raises:
            ValueError: ``test_fold`` is missing, needless or out of range, or a row has both or neither of
                split and fold.
        """
        has_folds = any(row.fold is not None for row in self.rows)
        if has_folds != (test_fold is not None):
            raise ValueError("give test_fold" if has_folds else "the manifest has no fold rows: test_fold must be None")
        if test_fold is not None and not 0 <= test_fold < self.folds:
            raise ValueError(f"test_fold must be in [0, {self.folds})")
        parts: dict[Split, list[Row]] = {"train": [], "val": [], "test": []}
        for row in self.rows:
            parts[self._split_of(row, test_fold)].append(row)
        return parts

    def _split_of(self, row: Row, test_fold: int | None) -> Split:
        if row.split is not None and row.fold is None:
            return row.split
        if row.fold is None or row.split is not None or test_fold is None or not 0 <= row.fold < self.folds:
            raise ValueError(f"row {row.id}: needs either a split or a fold in [0, {self.folds})")
        if row.fold == test_fold:
            return "test"
        return "val" if row.fold == (test_fold + 1) % self.folds else "train"

    def task(self, name: str) -> TaskSpec:
        """The task of that name.

        Raises:
            KeyError: there is none.
        """
        for task in self.tasks:
            if task.name == name:
                return task
        raise KeyError(name)

    def video_path(self, row: Row) -> Path | None:
        """Where the row's clip lies; None where the row has none."""
        return None if row.video is None else Path(self.media_root) / row.video


def text_key(text: str) -> str:
    """The text's letters, without case: equal for titles that differ in punctuation, spacing or a number only."""
    return " ".join(re.findall(r"[^\W\d_]+", unicodedata.normalize("NFKC", text).casefold()))
