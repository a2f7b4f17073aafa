"""Shards -> frames: the second ``FrameStore``. Holds one footer and a few clips of each shard in use, no more.

Shards on this machine's disk are read in place; others are copied to the cache when first needed, under their digest,
which is compared on arrival. Every page read is checked against its own checksum besides.
"""

from __future__ import annotations

import fcntl
import hashlib
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from contract.decision import TaskKind
from contract.input_spec import InputSpec
from training.atomic_write import replacing
from training.data.frames.shards.errors import DamagedShard, ShardError
from training.data.frames.shards.index import Shard, ShardIndex, open_location, read_index
from training.data.frames.shards.pack import FRAMES
from training.data.frames.shards.picture import from_bytes
from training.data.manifest import Manifest, Row
from training.data.manifest_io import ROW_SCHEMA, row_fields

KEPT_CLIPS = 8
"""Clips kept in memory."""
KEPT_FILES = 16
"""Shards kept open; their footers take some MB each."""
_CHUNK = 1 << 20


@dataclass
class _Open:
    """A shard that is open, and the number of the first row of each of its row groups."""

    file: pq.ParquetFile
    first_rows: list[int]


@dataclass
class ShardStore:
    """Frames of a manifest's rows, out of shards.

    Attributes:
        url: where the shards lie.
        index: what they hold.
        cache: where shards that are not on this machine's disk are kept; None reads them where they lie.
        positions: row id -> its number in the manifest, of rows whose clip has frames.
    """

    url: str
    index: ShardIndex
    cache: Path | None
    positions: dict[str, int]
    _files: OrderedDict[int, _Open] = field(default_factory=OrderedDict, repr=False)
    _clips: OrderedDict[int, NDArray[np.uint8]] = field(default_factory=OrderedDict, repr=False)

    @classmethod
    def open(cls, url: str, manifest: Manifest, spec: InputSpec, *, cache: Path | None) -> ShardStore:
        """The store; only the index is read.

        Raises:
            OtherShards: packed from another manifest, or for another input spec.
            ShardError: there is no index, or no such store.
            DamagedShard: the index lists another number of rows than the manifest.
        """
        index = read_index(url)
        index.require(manifest.digest(), spec, url)
        if index.rows != len(manifest.rows):
            raise DamagedShard(f"{url}: the index lists {index.rows} rows, the manifest has {len(manifest.rows)}")
        positions = {
            row.id: number
            for number, row in enumerate(manifest.rows)
            if row.video is not None and row.id not in index.failed
        }
        return cls(url, index, cache, positions)

    @property
    def spec(self) -> InputSpec:
        """Which frames, how large."""
        return self.index.input_spec

    @property
    def failed(self) -> Mapping[str, str]:
        """Row id -> why its clip gave no frames when it was packed."""
        return self.index.failed

    @property
    def failures(self) -> dict[str, int]:
        """Code -> how many rows it cost."""
        return dict(sorted(Counter(self.index.failed.values()).items()))

    def frames(self, row: Row) -> NDArray[np.uint8]:
        """(T, S, S, 3) uint8 RGB, read-only.

        Raises:
            KeyError: the row has no video, its clip failed, or it is not of the manifest.
            DamagedShard: the shard is missing, cut short or altered.
        """
        number = self.positions[row.id]
        if number not in self._clips:
            self._clips[number] = self._read(row.id, number)
            while len(self._clips) > KEPT_CLIPS:
                self._clips.popitem(last=False)
        self._clips.move_to_end(number)
        return self._clips[number]

    def verify(self) -> None:
        """Reads every shard that lies on this machine's disk and compares digests; others are compared on arrival.

        Raises:
            DamagedShard: names the first that is not what the index says.
        """
        for shard in self.index.shards:
            place = self._local(shard)
            if place is not None:
                _compare(shard, place, self.url)

    def __getstate__(self) -> dict[str, Any]:
        """What worker processes get: no open file, no clip."""
        return self.__dict__ | {"_files": OrderedDict(), "_clips": OrderedDict()}

    def _read(self, row_id: str, number: int) -> NDArray[np.uint8]:
        shard_number, position = divmod(number, self.index.rows_per_shard)
        shard = self.index.shards[shard_number]
        opened = self._opened(shard_number)
        group = bisect_right(opened.first_rows, position) - 1
        try:
            records = opened.file.read_row_group(group, columns=["id", FRAMES]).to_pylist()
            record = records[position - opened.first_rows[group]]
            if record["id"] != row_id:
                raise ValueError(f"row {record['id']} stands where {row_id} should")
            if record[FRAMES] is None:
                raise ValueError(f"row {row_id} has no frames")
            return from_bytes(record[FRAMES], self.spec.frames_shape)
        except (pa.ArrowException, OSError, ValueError, IndexError) as error:
            raise DamagedShard(f"{self.url}/{shard.name}: row group {group} cannot be read: {error}") from error

    def _opened(self, number: int) -> _Open:
        if number not in self._files:
            shard = self.index.shards[number]
            self._files[number] = _open_file(self._source(shard), shard, self.url)
            while len(self._files) > KEPT_FILES:
                self._files.popitem(last=False)[1].file.close(force=True)
        self._files.move_to_end(number)
        return self._files[number]

    def _local(self, shard: Shard) -> Path | None:
        system, path = open_location(self.url)
        return Path(path) / shard.name if "file" in system.protocol else None

    def _source(self, shard: Shard) -> Any:
        place = self._local(shard)
        if place is not None:
            return place
        if self.cache is not None:
            return _fetch(self.url, shard, self.cache)
        system, path = open_location(self.url)
        try:
            return system.open(f"{path}/{shard.name}", "rb", cache_type="none")
        except Exception as error:  # a store's library raises types of its own
            raise DamagedShard(f"{self.url}/{shard.name}: cannot be opened: {type(error).__name__}: {error}") from error


def read_packed_manifest(url: str, *, cache: Path | None = None) -> Manifest:
    """The manifest that the shards were packed from, without a media root: clips are not beside it.

    Raises:
        ShardError: there is no index, or no such store.
        DamagedShard: a shard cannot be read, or the rows are not those that were packed.
    """
    index = read_index(url)
    store = ShardStore(url, index, cache, {})
    single = {task.name for task in index.tasks if task.kind is not TaskKind.MULTILABEL}
    rows: list[Row] = []
    for shard in index.shards:
        opened = _open_file(store._source(shard), shard, url)
        try:
            records = opened.file.read(columns=ROW_SCHEMA.names).to_pylist()
            rows += [Row.model_validate(row_fields(record, single)) for record in records]
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DamagedShard(f"{url}/{shard.name}: its rows cannot be read: {error}") from error
        finally:
            opened.file.close(force=True)
    manifest = Manifest(
        name=index.name,
        tasks=index.tasks,
        privileged_groups=index.privileged_groups,
        folds=index.folds,
        rows=tuple(rows),
    )
    if manifest.digest() != index.manifest_digest:
        raise DamagedShard(f"{url}: its rows are not those of the manifest {index.manifest_digest[:16]}")
    return manifest


def _open_file(source: Any, shard: Shard, url: str) -> _Open:
    try:
        file = pq.ParquetFile(source, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise DamagedShard(f"{url}/{shard.name}: not a whole Parquet file: {error}") from error
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    if sum(sizes) != shard.rows:
        file.close(force=True)
        raise DamagedShard(f"{url}/{shard.name}: holds {sum(sizes)} rows, the index says {shard.rows}")
    return _Open(file, [0, *accumulate(sizes)][: len(sizes)])


def _compare(shard: Shard, place: Path, url: str) -> None:
    try:
        size = place.stat().st_size
        with place.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DamagedShard(f"{url}/{shard.name}: cannot be read: {error.strerror}") from error
    if size != shard.bytes:
        raise DamagedShard(f"{url}/{shard.name}: is {size} bytes long, the index says {shard.bytes}")
    if digest != shard.sha256:
        raise DamagedShard(f"{url}/{shard.name}: its SHA-256 is {digest}, the index says {shard.sha256}")


def _fetch(url: str, shard: Shard, cache: Path) -> Path:
    """The shard in the cache. Of several processes that want it, one copies it and the others wait."""
    home = cache / "shards"
    home.mkdir(parents=True, exist_ok=True)
    target = home / f"{shard.sha256}.parquet"
    if target.exists():
        return target
    with (home / f"{shard.sha256}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with replacing(target) as partial:
                _copy(url, shard, partial)
                _compare(shard, partial, url)
    return target


def _copy(url: str, shard: Shard, target: Path) -> None:
    system, path = open_location(url)
    try:
        with system.open(f"{path}/{shard.name}", "rb") as incoming, target.open("wb") as file:
            while chunk := incoming.read(_CHUNK):
                file.write(chunk)
    except FileNotFoundError as error:
        raise DamagedShard(f"{url}/{shard.name}: there is no such shard") from error
    except Exception as error:  # a store's library raises types of its own
        raise ShardError(f"{url}/{shard.name}: cannot be fetched: {type(error).__name__}: {error}") from error
