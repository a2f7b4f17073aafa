"""Manifest and decoded frames -> shards and their index, written a row group at a time.

A row group holds at most one clip, so that a clip is read without its neighbours. Rows whose clip could not be decoded
are written without frames, with the code in ``failed``, in the shard and in the index.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from training.data.frames.frame_store import FrameStore
from training.data.frames.shards.errors import ShardError
from training.data.frames.shards.index import (
    Shard,
    ShardIndex,
    has_index,
    index_of,
    open_location,
    read_index,
    write_index,
)
from training.data.frames.shards.picture import to_bytes
from training.data.manifest import Manifest, Row
from training.data.manifest_io import ROW_SCHEMA, row_record

FRAMES, FAILED = "frames", "failed"
SHARD_SCHEMA = ROW_SCHEMA.append(pa.field(FAILED, pa.string())).append(pa.field(FRAMES, pa.large_binary()))
_COMPRESSION_LEVEL = 3


def pack(
    manifest: Manifest, store: FrameStore, url: str, *, rows_per_shard: int = 512, progress: bool = True
) -> ShardIndex:
    """The index of the shards written; where they are there already, nothing is written.

    Args:
        manifest: all its rows are packed, those without a clip too.
        store: frames of the rows with a clip, or why there are none.
        url: a folder or a URL of fsspec.
        rows_per_shard: of the manifest's rows, in their order.
        progress: show a bar where stderr is a terminal.

    Raises:
        ValueError: fewer than one row a shard.
        OtherShards: shards of another manifest or input spec lie there.
        ShardError: shards of another size lie there, or the store cannot be written.
    """
    if rows_per_shard < 1:
        raise ValueError("rows_per_shard must be at least 1")
    system, path = open_location(url)
    if has_index(url):
        existing = read_index(url)
        existing.require(manifest.digest(), store.spec, url)
        if existing.rows_per_shard != rows_per_shard:
            raise ShardError(f"{url}: shards of {existing.rows_per_shard} rows lie here; choose another place")
        return existing
    system.makedirs(path, exist_ok=True)
    starts = range(0, len(manifest.rows), rows_per_shard)
    shown = progress and sys.stderr.isatty()
    shards = []
    for number, start in enumerate(tqdm(starts, desc="packing", unit="shard", disable=not shown)):
        rows = manifest.rows[start : start + rows_per_shard]
        shards.append(_write_shard(system, path, f"shard-{number:05d}.parquet", rows, store))
    ids = {row.id for row in manifest.rows}
    failed = {row_id: code for row_id, code in store.failed.items() if row_id in ids}
    index = index_of(manifest, store.spec, rows_per_shard, tuple(shards), failed)
    write_index(url, index)
    return index


class _Digested:
    """A file written sequentially; gives its digest and length at the end."""

    def __init__(self, file: Any) -> None:
        self._file, self._hash, self.length, self.closed = file, hashlib.sha256(), 0, False

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.length += memoryview(data).nbytes
        self._file.write(data)
        return memoryview(data).nbytes

    def tell(self) -> int:
        return self.length

    def flush(self) -> None:
        """Does nothing: there is no buffer."""

    def close(self) -> None:
        """Marks it closed; the caller that opened the file closes it."""
        self.closed = True

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def _write_shard(system: Any, path: str, name: str, rows: Sequence[Row], store: FrameStore) -> Shard:
    clips = 0
    with system.open(f"{path}/{name}", "wb") as file:
        sink = _Digested(file)
        writer = pq.ParquetWriter(
            sink,
            SHARD_SCHEMA,
            compression="zstd",
            compression_level=_COMPRESSION_LEVEL,
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )
        with writer:
            for records in _groups(rows, store):
                clips += sum(record[FRAMES] is not None for record in records)
                writer.write_table(pa.Table.from_pylist(records, schema=SHARD_SCHEMA), row_group_size=len(records))
    return Shard(name=name, rows=len(rows), clips=clips, bytes=sink.length, sha256=sink.sha256)


def _groups(rows: Sequence[Row], store: FrameStore) -> Iterator[list[dict[str, Any]]]:
    """Records of consecutive rows, with one clip at most."""
    group: list[dict[str, Any]] = []
    holds_clip = False
    for row in rows:
        frames = _frames(row, store)
        if frames is not None and holds_clip:
            yield group
            group, holds_clip = [], False
        group.append(
            row_record(row) | {FAILED: store.failed.get(row.id), FRAMES: None if frames is None else to_bytes(frames)}
        )
        holds_clip = holds_clip or frames is not None
    if group:
        yield group


def _frames(row: Row, store: FrameStore) -> NDArray[np.uint8] | None:
    return None if row.video is None or row.id in store.failed else store.frames(row)
