"""The decision log: what an experiment remembers of each request, and what reviewers say of it later.

    exposures    which arm a unit was given, recorded before anything that an arm does can fail
    decisions    how a request ended in an arm: a verdict or a typed refusal; shadow answers beside it
    feedback     what a video truly shows, as reviewers say later

All three live as tables of the same columns in SQLite files (``<writer>-<sequence>.sqlite``) and, compacted, in Parquet
files (``<table>/date=YYYY-MM-DD/*.parquet``). Nested fields are JSON text. Neither media nor texts are kept: a video is
known by digests alone.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field

from contract.frozen import FrozenDocument

Unit = Literal["video_id", "account_id", "content"]
"""What sticks to one arm. ``content``: the digest of video and texts."""
OK = "ok"
"""The code of a verdict; every other code is a problem's."""
_ID = r"^[0-9a-f]{32}$"
_DIGEST = r"^[0-9a-f]{64}$"
_SQL_TYPES = {str: "TEXT", int: "INTEGER", float: "REAL", bool: "INTEGER"}

RecordT = TypeVar("RecordT", bound="Record")


def name_hash(name: str) -> str:
    """SHA-256, in hex, of a caller's name for something (video, account): records join by it and show no name."""
    return hashlib.sha256(name.encode()).hexdigest()


class Record(FrozenDocument):
    """One row of one table."""

    table: ClassVar[str]
    key: ClassVar[tuple[str, ...]]
    """The columns that name a row: a second row of the same key is the same row."""

    @classmethod
    def columns(cls) -> dict[str, str]:
        """Column -> its SQL type: the fields in their order; nested ones and optional texts are TEXT."""
        return {name: _sql_type(info.annotation) for name, info in cls.model_fields.items()}

    def row(self) -> tuple[Any, ...]:
        """The values in the order of ``columns``."""
        return tuple(
            json.dumps(value, separators=(",", ":")) if isinstance(value, (dict, list)) else value
            for value in self.model_dump(mode="json").values()
        )

    @classmethod
    def of_row(cls: type[RecordT], row: dict[str, Any]) -> RecordT:
        """The record of a row: column -> value.

        Raises:
            pydantic.ValidationError: the row is none of this table's.
        """
        nested = {n for n, i in cls.model_fields.items() if _is_nested(i.annotation)}
        return cls.model_validate({n: json.loads(v) if n in nested and v is not None else v for n, v in row.items()})


class Exposure(Record):
    """A unit met its arm."""

    table = "exposures"
    key = ("decision_id",)

    decision_id: str = Field(pattern=_ID)
    """Made by the service; the reply names it."""
    time_ms: int = Field(ge=0)
    """Milliseconds since 1970, UTC."""
    experiment: str
    arm: str
    forced: bool = False
    """The caller asked for this arm, and was allowed to: no part of the comparison."""
    holdout: bool = False
    """The unit is kept out of the experiment and given the default arm: no part of the comparison."""
    unit: Unit
    unit_hash: str = Field(pattern=_DIGEST)
    """``name_hash`` of the unit: the same in every experiment, so that what came before can be joined."""
    video_hash: str | None = Field(default=None, pattern=_DIGEST)
    """``name_hash`` of the caller's video id."""
    content_digest: str = Field(pattern=_DIGEST)
    """Of the video's bytes and the texts."""
    media_digest: str | None = Field(default=None, pattern=_DIGEST)
    """SHA-256 of the video's bytes: how a replay finds them."""


class TaskRecord(FrozenDocument):
    """One task of a verdict."""

    scores: dict[str, float]
    label: str
    flag_score: float
    threshold: float
    flagged: bool
    supported: bool
    evidence: tuple[tuple[float, float], ...] = ()
    """(time_ms, score) of each moment."""


class Decision(Record):
    """How a request ended in an arm."""

    table = "decisions"
    key = ("decision_id", "arm", "shadow")

    decision_id: str = Field(pattern=_ID)
    """The exposure's."""
    time_ms: int = Field(ge=0)
    """When it ended: milliseconds since 1970, UTC."""
    experiment: str
    arm: str
    shadow: bool = False
    """Nobody was told: the arm answered beside the one that decided, on the same frames."""
    code: str
    """``ok``, or a problem's code."""
    bundle_digest: str = Field(pattern=_DIGEST)
    input_spec_digest: str = Field(pattern=_DIGEST)
    modalities: tuple[str, ...] = ()
    frame_times_ms: tuple[float, ...] = ()
    tasks: dict[str, TaskRecord] = Field(default_factory=dict)
    """Empty where there is no verdict."""
    latency_ms: float = Field(ge=0)
    """From the request's first byte to its answer; of a shadow: its own work."""
    timings_ms: dict[str, float] = Field(default_factory=dict)
    decode_cpu_s: float = Field(default=0.0, ge=0)
    """CPU seconds of the decode; 0 where it was shared with another request or arm."""
    model_cpu_s: float = Field(default=0.0, ge=0)
    bytes: int = Field(default=0, ge=0)
    """Of the body."""


class Feedback(Record):
    """What is true of a video, for one task."""

    table = "feedback"
    key = ("feedback_id", "task")

    feedback_id: str = Field(min_length=1, max_length=128)
    """The sender's: the same feedback sent twice counts once."""
    time_ms: int = Field(ge=0)
    """When it was told."""
    decision_id: str | None = Field(default=None, pattern=_ID)
    video_hash: str | None = Field(default=None, pattern=_DIGEST)
    """One of the two names the video."""
    task: str
    labels: tuple[str, ...]
    """The true ones: one, or any number of a multi-label task."""
    source: str = Field(min_length=1, max_length=64)
    """Who says so: a queue of reviewers, an appeal, an audit."""
    sampled_with: float = Field(default=1.0, gt=0, le=1)
    """The probability with which the video was chosen to be labelled."""
    views: int | None = Field(default=None, ge=0)
    """How often it was seen."""
    attributes: dict[str, str] = Field(default_factory=dict)
    """Slices it belongs to: country, language."""


RECORDS: tuple[type[Record], ...] = (Exposure, Decision, Feedback)


def _sql_type(annotation: Any) -> str:
    kinds = [k for k in getattr(annotation, "__args__", ()) if k is not type(None)] or [annotation]
    return _SQL_TYPES.get(kinds[0], "TEXT") if not _is_nested(annotation) else "TEXT"


def _is_nested(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) in (tuple, dict)
