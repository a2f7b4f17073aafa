"""Privileged features as the teacher reads them: standardised on train, with a presence mask.

Not scikit-learn's SimpleImputer and StandardScaler: their moments differ from these in the last bits, and checkpoint
cards hold them; what is constant is decided here relative to the mean.

N rows, F features of a group
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from contract.frozen import FrozenDocument
from training.data.manifest import PrivilegedGroup, Row

CLIP_STD = 5.0
"""Standardised values are clipped to this many standard deviations."""
_MIN_RELATIVE_STD = 1e-6


class GroupStatistics(FrozenDocument):
    """One group's means and standard deviations over the present values of the train rows."""

    name: str
    features: tuple[str, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    """0 marks a feature that is constant or never present in train: it is always handed over as absent."""

    @model_validator(mode="after")
    def _lengths_agree(self) -> GroupStatistics:
        if not len(self.features) == len(self.means) == len(self.stds):
            raise ValueError(f"privileged group {self.name}: features, means and stds must be as many")
        return self


class PrivilegedStatistics(FrozenDocument):
    """The standardisation of the privileged features a teacher was trained on; saved in its checkpoint's card."""

    groups: tuple[GroupStatistics, ...] = Field(default=())

    @classmethod
    def fit(cls, rows: Sequence[Row], groups: Sequence[PrivilegedGroup]) -> PrivilegedStatistics:
        """Statistics of the present values.

        Args:
            rows: of train, and of nothing else.
            groups: the manifest's.

        Raises:
            ValueError: a value is not finite.
        """
        return cls(groups=tuple(_fit_group(rows, group) for group in groups))

    @property
    def widths(self) -> dict[str, int]:
        """Group -> F."""
        return {group.name: len(group.features) for group in self.groups}

    @property
    def unread(self) -> tuple[str, ...]:
        """``group.feature`` of each that is constant or never present in train, and so handed over as absent."""
        return tuple(
            f"{group.name}.{feature}"
            for group in self.groups
            for feature, std in zip(group.features, group.stds, strict=True)
            if std == 0
        )

    def transform(self, rows: Sequence[Row]) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Group -> (values, presence), each (N, F) float32.

        Values lie in [-``CLIP_STD``, ``CLIP_STD``] and are 0 where presence is 0; presence is 0 or 1.

        Raises:
            ValueError: a value is not finite.
        """
        return {group.name: _transform_group(rows, group) for group in self.groups}

    def group_present(self, rows: Sequence[Row]) -> dict[str, NDArray[np.bool_]]:
        """Group -> (N,) bool: whether the row has any usable value of the group.

        Raises:
            ValueError: a value is not finite.
        """
        return {
            name: np.asarray(presence.any(axis=1), np.bool_) for name, (_, presence) in self.transform(rows).items()
        }


def raw_values(rows: Sequence[Row], group: str, features: Sequence[str]) -> NDArray[np.float64]:
    """(N, F) values as the manifest holds them, NaN where absent."""
    raw_NF = np.full((len(rows), len(features)), np.nan)
    for n, row in enumerate(rows):
        values = row.privileged.get(group, {})
        for f, feature in enumerate(features):
            value = values.get(feature)
            if value is None:
                continue
            if not math.isfinite(value):
                raise ValueError(f"row {row.id}: privileged.{group}.{feature} is not finite")
            raw_NF[n, f] = value
    return raw_NF


def _fit_group(rows: Sequence[Row], group: PrivilegedGroup) -> GroupStatistics:
    raw_NF = raw_values(rows, group.name, group.features)
    means: list[float] = []
    stds: list[float] = []
    for column_N in raw_NF.T:
        present = column_N[~np.isnan(column_N)]
        mean = float(present.mean()) if present.size else 0.0
        std = float(present.std()) if present.size else 0.0
        means.append(mean)
        stds.append(std if std > _MIN_RELATIVE_STD * max(abs(mean), _MIN_RELATIVE_STD) else 0.0)
    return GroupStatistics(name=group.name, features=group.features, means=tuple(means), stds=tuple(stds))


def _transform_group(rows: Sequence[Row], group: GroupStatistics) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    raw_NF = raw_values(rows, group.name, group.features)
    means_F, stds_F = np.asarray(group.means), np.asarray(group.stds)
    present_NF = ~np.isnan(raw_NF) & (stds_F > 0)
    standard_NF = (raw_NF - means_F) / np.where(stds_F > 0, stds_F, 1.0)
    values_NF = np.where(present_NF, np.clip(standard_NF, -CLIP_STD, CLIP_STD), 0.0)
    return values_NF.astype(np.float32), present_NF.astype(np.float32)
