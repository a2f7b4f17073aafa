"""Compaction: every record once, whatever moment it is killed at; retention; shipping that reads back."""

from __future__ import annotations

import datetime
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest

from contract.decision_log import RECORDS, Decision, Record
from service.experiment.log import compaction, shipping
from service.experiment.log.__main__ import main
from service.experiment.log.compaction import compact, shipped_mark
from service.experiment.log.files import CompactionRunning, LogFile, WriterLock, alone_in, log_files
from service.experiment.log.reading import read_records
from service.experiment.log.shipping import ship
from service.experiment.log.store import Store, connect
from tests.unit.service.experiment.log.records import DAY_MS, NOON, decision, exposure, feedback

BY_NAME = "2024-10-04"


def written(directory: Path, records: list[Record], writer: str = "pod", sequence: int = 1) -> LogFile:
    file = LogFile(writer, sequence, directory)
    with closing(Store(file.path)) as store:
        store.write(records)
    return file


def in_parquet(directory: Path) -> Counter[tuple[Any, ...]]:
    found: Counter[tuple[Any, ...]] = Counter()
    for kind in RECORDS:
        for part in (directory / kind.table).glob("date=*/*.parquet"):
            rows = pq.ParquetFile(part).read().to_pylist()
            found.update((kind.table, *(row[name] for name in kind.key)) for row in rows)
    return found


def keys(records: list[Record]) -> set[tuple[Any, ...]]:
    return {(record.table, *(getattr(record, name) for name in record.key)) for record in records}


def some(count: int = 5, **fields: Any) -> list[Record]:
    return [make(**fields) for _ in range(count) for make in (exposure, decision, feedback)]


def test_each_record_is_in_parquet_once_as_it_was(tmp_path: Path) -> None:
    told = decision(modalities=("video",), frame_times_ms=(0.0, 40.0), timings_ms={"decode": 1.5}, shadow=True)
    later = some(3, time_ms=NOON + DAY_MS)
    written(tmp_path, [*some(), told])
    written(tmp_path, later, sequence=2)
    done = compact(tmp_path)
    assert log_files(tmp_path) == []
    assert done.files == ["pod-000001.sqlite", "pod-000002.sqlite"]
    assert done.records == {"exposures": 8, "decisions": 9, "feedback": 8}
    found = in_parquet(tmp_path)
    assert set(found.values()) == {1}
    assert found.total() == 25
    assert told in list(read_records(tmp_path, Decision))
    part = tmp_path / "decisions" / f"date={BY_NAME}" / "pod-000001.parquet"
    schema = pq.read_schema(part)
    assert [(f.name, str(f.type)) for f in schema] == [
        (name, {"TEXT": "string", "INTEGER": "int64", "REAL": "double"}[sql])
        for name, sql in Decision.columns().items()
    ]


def test_what_is_only_in_the_journal_is_taken_too(tmp_path: Path) -> None:
    """A writer that was killed left its records in the journal."""
    file = LogFile("pod", 1, tmp_path / "copy")
    (tmp_path / "copy").mkdir()
    store = Store(LogFile("pod", 1, tmp_path).path)
    records = some()
    store.write(records)
    for suffix in ("", "-wal"):
        source = Path(f"{LogFile('pod', 1, tmp_path).path}{suffix}")
        Path(f"{file.path}{suffix}").write_bytes(source.read_bytes())
    store.close()
    assert Path(f"{file.path}-wal").stat().st_size > 0
    compact(tmp_path / "copy")
    assert in_parquet(tmp_path / "copy").keys() == keys(records)
    assert not list((tmp_path / "copy").glob("*.sqlite*"))


class Killed(BaseException):
    """As SIGKILL: nothing is caught, nothing tidied up."""


@pytest.mark.slow
def test_it_may_be_killed_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step that changes the disk is the last one once; what is left is taken up by the next compaction."""
    steps, limit = itertools.count(), [10**9]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            if next(steps) >= limit[0]:
                raise Killed
            return function(*arguments, **options)

        return step

    for name in ("rename", "unlink", "mkdir"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    monkeypatch.setattr(pq, "write_table", counted(pq.write_table))
    monkeypatch.setattr(os, "fsync", counted(lambda _: None))  # the power stays on here
    for number in itertools.count():
        directory = tmp_path / str(number)
        limit[0] = 10**9
        directory.mkdir()
        records = [*some(1), *some(1, time_ms=NOON + DAY_MS)]
        written(directory, records)
        steps, limit[0] = itertools.count(), number
        try:
            compact(directory)
        except Killed:
            killed = True
        else:
            killed = False
        limit[0] = 10**9
        assert {(r.table, r.decision_id) for r in read_records(directory, Decision)} == {
            (r.table, r.decision_id) for r in records if isinstance(r, Decision)
        }
        compact(directory)
        found = in_parquet(directory)
        assert found.keys() == keys(records), number
        assert set(found.values()) == {1}, number
        assert not list(directory.rglob("*.part")), number
        assert not list(directory.glob("*.sqlite*")), number
        if not killed:
            break
    assert number > 20


def test_the_file_of_a_live_writer_is_left_alone(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path, "pod")
    written(tmp_path, some(1))
    live = written(tmp_path, some(1), sequence=2)
    assert compact(tmp_path).files == ["pod-000001.sqlite"]
    assert log_files(tmp_path) == [live]
    lock.release()
    assert compact(tmp_path).files == ["pod-000002.sqlite"]


def test_debris_of_the_dead_goes_and_that_of_the_living_stays(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path, "live")
    for name in ("live-000001.sqlite.new", "dead-000001.sqlite.new", "dead-000001.sqlite.new-wal", "dead.lock"):
        (tmp_path / name).write_bytes(b"")
    compact(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"live.lock", "live-000001.sqlite.new"}
    lock.release()


def test_one_compaction_at_a_time(tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(CompactionRunning):
        compact(tmp_path)
    compact(tmp_path)


def test_a_file_that_is_none_is_said_and_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pod-000001.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 10)
    written(tmp_path, some(1), sequence=2)
    assert main(["compact", "--directory", str(tmp_path)]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["files"] == ["pod-000002.sqlite"]
    assert said["unreadable"] == {"pod-000001.sqlite": "file is not a database"}
    assert (tmp_path / "pod-000001.sqlite").exists()


def test_a_record_of_an_impossible_time_keeps_no_other_file_back(tmp_path: Path) -> None:
    written(tmp_path, [feedback(time_ms=10**18)])
    written(tmp_path, some(1), sequence=2)
    done = compact(tmp_path)
    assert done.files == ["pod-000002.sqlite"]
    assert list(done.unreadable) == ["pod-000001.sqlite"]


def test_a_file_of_an_older_version_lacks_a_column_and_is_taken(tmp_path: Path) -> None:
    file = written(tmp_path, some(2))
    with closing(connect(file.path, must_exist=True)) as connection:
        connection.execute("ALTER TABLE decisions DROP COLUMN bytes")
    compact(tmp_path)
    assert sum(1 for _ in read_records(tmp_path, Decision)) == 2


def test_old_days_go_but_what_was_not_shipped_stays(tmp_path: Path) -> None:
    old, new, archive = some(1), some(1, time_ms=NOON + 10 * DAY_MS), tmp_path / "archive"
    directory = tmp_path / "log"
    directory.mkdir()
    written(directory, [*old, *new])
    today = datetime.date.fromisoformat(BY_NAME) + datetime.timedelta(days=10)
    done = compact(directory, keep_days=3, only_shipped=True, today=today)
    assert (done.expired, done.kept_unshipped) == (0, 3)
    ship(directory, archive.as_uri())
    done = compact(directory, keep_days=3, only_shipped=True, today=today)
    assert (done.expired, done.kept_unshipped) == (3, 0)
    assert in_parquet(directory).keys() == keys(new)
    assert in_parquet(archive).keys() == keys([*old, *new])
    assert not (directory / "decisions" / f"date={BY_NAME}").exists()
    assert compact(directory, keep_days=0, today=today).expired == 0  # the day itself stays


@pytest.fixture
def memory() -> Any:
    system = fsspec.filesystem("memory")
    system.store.clear()
    return system


def test_what_was_shipped_is_read_back_marked_and_not_sent_again(tmp_path: Path, memory: Any) -> None:
    written(tmp_path, some())
    compact(tmp_path)
    done = ship(tmp_path, "memory://bucket/cpfd")
    assert (done.files, done.failed) == (3, {})
    assert len(memory.find("/bucket/cpfd")) == 3
    assert ship(tmp_path, "memory://bucket/cpfd").files == 0
    for part in tmp_path.rglob("*.parquet"):  # killed before the mark: what lies there is only marked
        shipped_mark(part).unlink()
    sent: list[str] = []
    memory_put = type(memory).put_file
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(memory), "put_file", lambda self, a, b: sent.append(b) or memory_put(self, a, b))
        assert ship(tmp_path, "memory://bucket/cpfd").files == 3
        assert sent == []
        assert ship(tmp_path, "memory://other").files == 3  # the mark is of another address
        assert len(sent) == 3


def test_what_does_not_come_back_as_it_was_sent_is_not_marked(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, some(1))
    compact(tmp_path)
    kind = type(memory)
    put = kind.put_file

    def damaging(self: Any, source: str, target: str) -> None:
        put(self, source, target)
        data = bytearray(self.cat_file(target))
        data[10] ^= 1
        self.pipe_file(target, bytes(data))

    monkeypatch.setattr(kind, "put_file", damaging)
    assert main(["ship", "--directory", str(tmp_path), "--to", "memory://bucket"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["files"], len(said["failed"])) == (0, 3)
    monkeypatch.setattr(kind, "put_file", put)
    assert main(["ship", "--directory", str(tmp_path), "--to", "memory://bucket"]) == 0


def test_the_extra_is_named_where_it_lacks() -> None:
    """Serving imports neither pyarrow nor fsspec: both are imported where they are used."""
    for module in (compaction, shipping):
        assert not {"pa", "pq", "fsspec", "pyarrow"} & vars(module).keys()
