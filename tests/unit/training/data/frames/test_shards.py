"""Shards: what is read is what was packed, and shards that are other or damaged are refused by name."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.unit.training.conftest import Toy
from tests.unit.training.data.loading.test_read_ahead import OPTIONS, assert_same
from training.data.frames.frame_cache import FrameCache
from training.data.frames.shards.errors import DamagedShard, OtherShards, ShardError
from training.data.frames.shards.index import INDEX_FILE, ShardIndex, read_index
from training.data.frames.shards.pack import pack
from training.data.frames.shards.picture import from_bytes, to_bytes
from training.data.frames.shards.store import KEPT_CLIPS, ShardStore, read_packed_manifest
from training.data.loading.epoch_batches import training_batches
from training.data.loading.row_set import row_set
from training.data.manifest import Manifest

ROWS_PER_SHARD = 17


@pytest.fixture(scope="module")
def frames(toy: Toy) -> FrameCache:
    cache = toy.parts["train"].cache
    assert isinstance(cache, FrameCache)
    return cache


@pytest.fixture
def packed(toy: Toy, frames: FrameCache, tmp_path: Path) -> Path:
    pack(toy.manifest, frames, str(tmp_path / "shards"), rows_per_shard=ROWS_PER_SHARD)
    return tmp_path / "shards"


def opened(toy: Toy, frames: FrameCache, url: object, cache: Path | None = None) -> ShardStore:
    return ShardStore.open(str(url), toy.manifest, frames.spec, cache=cache)


def test_frames_survive_as_bytes() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    assert np.array_equal(from_bytes(to_bytes(clip), clip.shape), clip)


def test_what_is_read_is_what_was_packed(toy: Toy, frames: FrameCache, packed: Path) -> None:
    store = opened(toy, frames, packed)
    store.verify()
    clips = [row for row in toy.manifest.rows if row.video is not None]
    for row in reversed(clips):
        assert np.array_equal(store.frames(row), frames.frames(row))
    assert len(store._clips) == KEPT_CLIPS
    with pytest.raises(KeyError):
        store.frames(toy.manifest.rows[-1])
    index = read_index(str(packed))
    assert [s.rows for s in index.shards] == [17, 17, 17, 9]
    assert sum(s.clips for s in index.shards) == len(clips)
    file = pq.ParquetFile(packed / index.shards[0].name)
    assert file.num_row_groups == index.shards[0].clips, "one clip a row group"


def test_the_rows_can_be_had_from_the_shards_alone(toy: Toy, packed: Path) -> None:
    found = read_packed_manifest(str(packed))
    assert found.rows == toy.manifest.rows
    assert found.digest() == toy.manifest.digest()


def test_batches_from_shards_are_those_from_the_cache(toy: Toy, frames: FrameCache, packed: Path) -> None:
    part = toy.parts["train"]
    store = opened(toy, frames, packed)
    other = row_set(part.rows, toy.manifest.tasks, part.spec, part.tokenizer, store)
    wanted = list(training_batches(part, OPTIONS, 1, 0))
    assert_same(wanted, list(training_batches(other, OPTIONS, 1, 0)))
    assert_same(wanted[-3:], list(training_batches(other, OPTIONS, 1, 0, workers=1, start=len(wanted) - 3)))
    assert pickle.loads(pickle.dumps(store))._files == {}


@pytest.mark.parametrize("cached", [True, False])
def test_any_file_system_of_fsspec_will_do(toy: Toy, frames: FrameCache, tmp_path: Path, cached: bool) -> None:
    url = f"memory://{tmp_path.name}/shards"
    index = pack(toy.manifest, frames, url, rows_per_shard=ROWS_PER_SHARD)
    cache = tmp_path / "cache" if cached else None
    store = opened(toy, frames, url, cache)
    row = toy.manifest.rows[0]
    assert np.array_equal(store.frames(row), frames.frames(row))
    if cached:
        assert [p.name for p in (tmp_path / "cache" / "shards").glob("*.parquet")] == [
            f"{index.shards[0].sha256}.parquet"
        ]
    assert read_packed_manifest(url, cache=cache).rows == toy.manifest.rows


def test_shards_of_another_manifest_or_spec_are_refused(toy: Toy, frames: FrameCache, packed: Path) -> None:
    other: Manifest = toy.manifest.model_copy(update={"name": "other"})
    with pytest.raises(OtherShards, match="manifest"):
        ShardStore.open(str(packed), other, frames.spec, cache=None)
    smaller = frames.spec.model_copy(update={"frame_size": 16})
    with pytest.raises(OtherShards, match="input spec"):
        ShardStore.open(str(packed), toy.manifest, smaller, cache=None)
    with pytest.raises(OtherShards, match="manifest"):
        pack(other, frames, str(packed), rows_per_shard=ROWS_PER_SHARD)
    with pytest.raises(ShardError, match="choose another place"):
        pack(toy.manifest, frames, str(packed), rows_per_shard=5)


def test_what_is_packed_is_not_packed_again(toy: Toy, frames: FrameCache, packed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in packed.iterdir()}
    assert pack(toy.manifest, frames, str(packed), rows_per_shard=ROWS_PER_SHARD) == read_index(str(packed))
    assert before == {path: path.stat().st_mtime_ns for path in packed.iterdir()}


@pytest.mark.parametrize("fault", ["altered", "short", "gone"])
def test_a_damaged_shard_is_named(toy: Toy, frames: FrameCache, packed: Path, fault: str) -> None:
    shard = packed / "shard-00000.parquet"
    whole = shard.read_bytes()
    # A byte within the pages of the first row group, where no structure stands.
    middle = pq.ParquetFile(shard).metadata.row_group(0).total_byte_size // 4
    damaged = {"altered": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :], "short": whole[:-100]}
    if fault == "gone":
        shard.unlink()
    else:
        shard.write_bytes(damaged[fault])
    store = opened(toy, frames, packed)
    with pytest.raises(DamagedShard, match=r"shard-00000\.parquet"):
        store.verify()
    if fault != "altered":
        with pytest.raises(DamagedShard, match=r"shard-00000\.parquet"):
            store.frames(toy.manifest.rows[0])


def test_an_altered_page_is_seen_without_reading_the_whole_shard(toy: Toy, frames: FrameCache, packed: Path) -> None:
    shard = packed / "shard-00000.parquet"
    group = pq.ParquetFile(shard).metadata.row_group(0)
    column = group.column(group.num_columns - 1)
    assert column.path_in_schema == "frames"
    data = bytearray(shard.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 255
    shard.write_bytes(data)
    with pytest.raises(DamagedShard, match=r"shard-00000\.parquet: row group 0"):
        opened(toy, frames, packed).frames(toy.manifest.rows[0])


def test_a_shard_damaged_in_the_store_is_not_kept(toy: Toy, frames: FrameCache, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/shards"
    pack(toy.manifest, frames, url, rows_per_shard=ROWS_PER_SHARD)
    system, path = fsspec.core.url_to_fs(url)
    name = f"{path}/shard-00000.parquet"
    system.pipe_file(name, system.cat_file(name)[:-1] + b"?")
    with pytest.raises(DamagedShard, match=r"shard-00000\.parquet: its SHA-256"):
        opened(toy, frames, url, tmp_path).frames(toy.manifest.rows[0])
    assert list((tmp_path / "shards").glob("*.parquet")) == []


def test_clips_that_failed_are_recorded_and_left_out(toy: Toy, frames: FrameCache, tmp_path: Path) -> None:
    lost = toy.manifest.rows[3]
    index = pack(toy.manifest, replace(frames, failed={lost.id: "corrupt_video"}), str(tmp_path), rows_per_shard=30)
    assert index.failed == {lost.id: "corrupt_video"}
    store = opened(toy, frames, tmp_path)
    assert store.failures == {"corrupt_video": 1}
    with pytest.raises(KeyError):
        store.frames(lost)
    record = pq.read_table(tmp_path / "shard-00000.parquet", columns=["id", "failed", "frames"]).to_pylist()[3]
    assert record == {"id": lost.id, "failed": "corrupt_video", "frames": None}
    part = toy.parts["train"]
    kept = row_set(toy.manifest.rows, toy.manifest.tasks, part.spec, part.tokenizer, store)
    assert lost.id not in {row.id for row in kept.rows}
    assert len(kept.rows) == len(toy.manifest.rows) - 1


def test_faults_of_the_index_and_the_place(toy: Toy, frames: FrameCache, packed: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="cannot be read"):
        read_index(str(tmp_path / "nowhere"))
    with pytest.raises(ShardError, match="nosuch"):
        read_index("nosuch://bucket/shards")
    with pytest.raises(ValueError, match="at least 1"):
        pack(toy.manifest, frames, str(tmp_path / "none"), rows_per_shard=0)
    index = read_index(str(packed))
    fewer = index.model_copy(update={"shards": index.shards[:-1]})
    (packed / INDEX_FILE).write_text(fewer.model_dump_json())
    with pytest.raises(DamagedShard, match="51 rows"):
        opened(toy, frames, packed)
    swapped = index.model_dump(mode="json") | {"rows_per_shard": 99}
    with pytest.raises(ValueError, match="rows_per_shard"):
        ShardIndex.model_validate(swapped)
