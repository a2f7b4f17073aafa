"""The rows of an ablation: settings, read from ``configs/ablation.yaml``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from contract.frozen import FrozenDocument
from training.config import ConfigError, RunConfig, changed, read_config, read_document
from training.distillation.registry import require_known


class AblationRow(FrozenDocument):
    """One row of the table."""

    name: str = Field(min_length=1)
    says: str = Field(min_length=1)
    """What the row is, in the table's legend."""
    preset: str
    """A file beside this one."""
    method: str
    changes: dict[str, Any] = Field(default_factory=dict)
    """Dotted path of a field -> its value in place of the preset's."""

    @field_validator("method")
    @classmethod
    def _method_exists(cls, method: str) -> str:
        require_known((method,))
        return method

    @property
    def folder(self) -> str:
        """The name as a folder's."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


class AblationTable(FrozenDocument):
    """All rows, the plainest first."""

    rows: tuple[AblationRow, ...] = Field(min_length=2)

    @field_validator("rows")
    @classmethod
    def _names_differ(cls, rows: tuple[AblationRow, ...]) -> tuple[AblationRow, ...]:
        if len({row.folder for row in rows}) != len(rows) or not all(row.folder for row in rows):
            raise ValueError("rows need names that differ in their letters")
        return rows


def read_table(path: Path) -> AblationTable:
    """The table of a YAML file. Raises ConfigError as ``read_document``."""
    return read_document(path, AblationTable)


def row_config(row: AblationRow, home: Path) -> RunConfig:
    """The row's configuration.

    Args:
        row: of the table.
        home: the folder of presets.

    Raises:
        ConfigError: the preset cannot be read, or a change does not fit it. The message names the row.
    """
    try:
        return changed(read_config(home / row.preset), row.changes)
    except ConfigError as error:
        raise ConfigError(f"row {row.name!r}: {error}") from error
