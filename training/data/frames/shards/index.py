"""``index.json``: what the shards beside it hold, and what they were made from. Written last: its presence says "done".

A location is a folder's path or any URL of fsspec: ``file://``, ``s3://`` (with s3fs installed), ``memory://``.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import fsspec
from pydantic import Field, ValidationError, model_validator

from contract.decision import TaskSpec
from contract.frozen import FrozenDocument
from contract.input_spec import InputSpec
from training.data.frames.shards.errors import OtherShards, ShardError
from training.data.manifest import Manifest, PrivilegedGroup

INDEX_FILE = "index.json"


class Shard(FrozenDocument):
    """One Parquet file."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    rows: int = Field(ge=1)
    clips: int = Field(ge=0)
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ShardIndex(FrozenDocument):
    """``index.json``."""

    version: Literal[1] = 1
    format: Literal["parquet"] = "parquet"
    manifest_digest: str
    input_spec_digest: str
    input_spec: InputSpec
    name: str
    tasks: tuple[TaskSpec, ...]
    privileged_groups: tuple[PrivilegedGroup, ...] = ()
    folds: int = 0
    rows_per_shard: int = Field(ge=1)
    shards: tuple[Shard, ...]
    """In the order of the manifest's rows; all but the last hold ``rows_per_shard`` of them."""
    failed: dict[str, str] = Field(default_factory=dict)
    """Row id -> why its clip gave no frames when it was packed."""

    @model_validator(mode="after")
    def _rows_fit(self) -> Self:
        if any(shard.rows != self.rows_per_shard for shard in self.shards[:-1]):
            raise ValueError("only the last shard may hold fewer rows than rows_per_shard")
        return self

    @property
    def rows(self) -> int:
        """How many rows all shards hold."""
        return sum(shard.rows for shard in self.shards)

    def require(self, manifest_digest: str, spec: InputSpec, url: str) -> None:
        """Raises unless the shards are of this manifest and input spec.

        Raises:
            OtherShards: made from another manifest or for another input spec.
        """
        if self.manifest_digest != manifest_digest:
            raise OtherShards(
                f"{url}: packed from the manifest {self.manifest_digest[:16]}, the run's is {manifest_digest[:16]}"
            )
        if self.input_spec_digest != spec.digest() or self.input_spec != spec:
            raise OtherShards(
                f"{url}: packed for the input spec {self.input_spec_digest[:16]}, the run's is {spec.digest()[:16]}"
            )


def open_location(url: str) -> tuple[Any, str]:
    """The fsspec file system and the path in it.

    Raises:
        ShardError: no such kind of store, or its package is not installed.
    """
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ShardError(f"{url}: {error}") from error
    return system, path.rstrip("/")


def read_index(url: str) -> ShardIndex:
    """The index at a location.

    Raises:
        ShardError: there is none, or it is not one of this version.
    """
    system, path = open_location(url)
    try:
        return ShardIndex.model_validate_json(system.cat_file(f"{path}/{INDEX_FILE}"))
    except ValidationError as error:
        raise ShardError(f"{url}: {INDEX_FILE} is not an index of this version: {error}") from error
    except Exception as error:  # a store's library raises types of its own
        raise ShardError(f"{url}: {INDEX_FILE} cannot be read: {type(error).__name__}: {error}") from error


def has_index(url: str) -> bool:
    """Whether a location holds complete shards."""
    system, path = open_location(url)
    return bool(system.exists(f"{path}/{INDEX_FILE}"))


def write_index(url: str, index: ShardIndex) -> None:
    """Writes the index, last: shards without an index are not read."""
    system, path = open_location(url)
    system.pipe_file(f"{path}/{INDEX_FILE}", index.model_dump_json(indent=1).encode() + b"\n")


def index_of(
    manifest: Manifest, spec: InputSpec, rows_per_shard: int, shards: tuple[Shard, ...], failed: dict[str, str]
) -> ShardIndex:
    """The index of a manifest's shards."""
    return ShardIndex(
        manifest_digest=manifest.digest(),
        input_spec_digest=spec.digest(),
        input_spec=spec,
        name=manifest.name,
        tasks=manifest.tasks,
        privileged_groups=manifest.privileged_groups,
        folds=manifest.folds,
        rows_per_shard=rows_per_shard,
        shards=shards,
        failed=failed,
    )
