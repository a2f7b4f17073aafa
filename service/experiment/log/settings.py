"""Settings of the decision log and of the labels that come later."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

MIB = 1024 * 1024


class LogSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    directory: Path | None = None
    """Where the decision log lies: a directory on a disk that survives the process. None: none is kept."""
    on_failure: Literal["refuse", "count"] = "refuse"
    """What becomes of requests while it cannot be written, as on a full disk. ``refuse``: 503 `log_unavailable`, and
    the service is not ready. ``count``: they are answered, and `cpfd_log_records_lost_total` counts what lacks."""
    rotate_bytes: int = Field(default=64 * MIB, ge=64 * 1024)
    """A file over this is closed, for `python -m service.experiment.log compact` to take up."""
    rotate_seconds: float = Field(default=3600.0, gt=0)
    """So is a file this old that holds anything."""
    max_bytes: int = Field(default=0, ge=0)
    """The directory may hold this much, Parquet included, when a file is begun; over it counts as a full disk. For
    disks that end whoever fills them, as an emptyDir does. 0: no bound but the disk's."""
    max_waiting: int = Field(default=10_000, ge=1)
    """Appends that may wait for the disk; one more is refused or counted."""
    max_wait_seconds: float = Field(default=2.0, gt=0)
    """An append that takes longer is refused or counted, and the log counts as failing meanwhile."""


class FeedbackSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    token: SecretStr | None = Field(default=None, min_length=16)
    """What `POST /feedback` asks for as `Authorization: Bearer ...`. None: it asks for nothing. Set it
    in the environment."""
    max_bytes: int = Field(default=MIB, ge=1024)
    """Largest body."""
    max_items: int = Field(default=1000, ge=1)
    """Most labels in one body."""
