"""The decision log's writer: durable on return, in order, once; rotation; a disk that takes nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.decision_log import Decision, Record
from service.errors import LogUnavailable
from service.experiment.log import group
from service.experiment.log.files import closed_files, is_live, log_files
from service.experiment.log.settings import LogSettings
from service.experiment.log.store import Store
from service.experiment.log.writer import LOSS_REASONS, DecisionLog, NullLog
from service.metrics import Metrics
from tests.unit.service.experiment.log.records import decision, exposure, feedback, keys_in

FULL = "database or disk is full"


def made(directory: Path, **fields: Any) -> tuple[DecisionLog, Metrics]:
    metrics = Metrics()
    return DecisionLog(LogSettings(directory=directory, **fields), metrics, host="pod-7"), metrics


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(name, labels)
    assert found is not None, name
    return found


def lost(metrics: Metrics) -> dict[str, float]:
    return {reason: value(metrics, "cpfd_log_records_lost_total", reason=reason) for reason in LOSS_REASONS}


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  what is waited for happens in a thread
            await asyncio.sleep(0.01)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """A disk that is full while ``full`` is set: neither commits nor new files."""
    state = {"full": True}
    write, begin = Store.write, Store.__init__

    def refusing_write(self: Store, records: list[Record]) -> int:
        if state["full"]:
            raise sqlite3.OperationalError(FULL)
        return write(self, records)

    def refusing_begin(self: Store, path: Path) -> None:
        begin(self, path)
        if state["full"]:
            self.close()
            raise sqlite3.OperationalError(FULL)

    monkeypatch.setattr(Store, "write", refusing_write)
    monkeypatch.setattr(Store, "__init__", refusing_begin)
    monkeypatch.setattr(group, "RETRY_S", 0.05)
    return state


def test_what_append_returned_from_is_on_the_disk_whatever_happens_next(tmp_path: Path) -> None:
    log, metrics = made(tmp_path)
    told = exposure(), decision(), feedback()

    async def run() -> None:
        log.start()
        await log.append(*told)
        # Read by another connection, while the writer lives: its commit is there, in the journal if nowhere else.
        assert keys_in(tmp_path) == {
            ("exposures", told[0].decision_id): 1,
            ("decisions", told[1].decision_id, "student", "0"): 1,
            ("feedback", told[2].feedback_id, "violence"): 1,
        }
        await log.close()

    asyncio.run(run())
    assert value(metrics, "cpfd_log_records_total", table="decisions") == 1
    (file,) = log_files(tmp_path)
    assert Decision.of_row(_rows(file.path, "decisions")[0]) == told[1]


def _rows(path: Path, table: str) -> list[dict[str, Any]]:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    found = [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")]
    connection.close()
    return found


def test_a_commit_outlives_a_loss_of_power(tmp_path: Path) -> None:
    """By SQLite's own word: under synchronous=NORMAL (1) a commit in the journal may not."""
    log, _ = made(tmp_path)

    async def run() -> None:
        log.start()
        store = log._group._store
        assert store is not None
        assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        await log.close()

    asyncio.run(run())


def test_one_commit_serves_all_that_wait_and_keeps_their_order(tmp_path: Path) -> None:
    log, metrics = made(tmp_path)
    told = [decision() for _ in range(200)]

    async def run() -> None:
        waiting = [asyncio.ensure_future(log.append(record)) for record in told]
        await asyncio.sleep(0)  # all wait before the thread begins
        log.start()
        await asyncio.gather(*waiting)
        await log.close()

    asyncio.run(run())
    assert value(metrics, "cpfd_log_group_size_count") == 1
    assert value(metrics, "cpfd_log_group_size_sum") == 200
    (file,) = log_files(tmp_path)
    assert [row["decision_id"] for row in _rows(file.path, "decisions")] == [r.decision_id for r in told]


def test_a_record_told_twice_is_there_once_and_the_first_stands(tmp_path: Path) -> None:
    log, _ = made(tmp_path)
    first = feedback(source="review")

    async def run() -> None:
        log.start()
        await log.append(first)
        await log.append(first.model_copy(update={"source": "appeal"}))
        await log.close()

    asyncio.run(run())
    (file,) = log_files(tmp_path)
    assert [row["source"] for row in _rows(file.path, "feedback")] == ["review"]


def test_a_file_is_left_when_it_is_large_or_old_and_nothing_is_lost_on_the_way(tmp_path: Path) -> None:
    log, _ = made(tmp_path, rotate_bytes=64 * 1024, rotate_seconds=0.3)
    told = [decision() for _ in range(120)]

    async def run() -> None:
        log.start()
        for record in told[:-1]:
            await log.append(record)
        files = len(log_files(tmp_path))
        assert files > 2  # by size
        await log.append(told[-1])
        await eventually(lambda: len(log_files(tmp_path)) > files)  # by age, without another append
        newest = log_files(tmp_path)[-1]
        assert closed_files(tmp_path) == log_files(tmp_path)[:-1]
        assert is_live(tmp_path, newest.writer)
        await log.close()

    asyncio.run(run())
    assert sum(keys_in(tmp_path).values()) == len(keys_in(tmp_path)) == 120
    assert closed_files(tmp_path) == log_files(tmp_path)


def test_an_empty_file_is_not_left_for_its_age(tmp_path: Path) -> None:
    log, _ = made(tmp_path, rotate_seconds=0.01)

    async def run() -> None:
        log.start()
        await asyncio.sleep(0.2)
        await log.close()

    asyncio.run(run())
    assert len(log_files(tmp_path)) == 1


def test_a_full_disk_refuses_and_the_service_says_why_until_it_is_written_again(
    tmp_path: Path, full_disk: dict[str, bool]
) -> None:
    log, metrics = made(tmp_path, on_failure="refuse")

    async def run() -> None:
        log.start()
        assert log.faults() == [f"the decision log cannot be written: {FULL}"]
        with pytest.raises(LogUnavailable) as refused:
            await log.append(decision())
        assert refused.value.retry_after_s
        assert not await log.stored(feedback())
        assert value(metrics, "cpfd_log_failing") == 1
        full_disk["full"] = False
        await eventually(lambda: not log.faults())  # by itself: a pod that is not ready gets no request to try with
        assert value(metrics, "cpfd_log_failing") == 0
        await log.append(decision())
        full_disk["full"] = True
        with pytest.raises(LogUnavailable):  # in the middle of a file
            await log.append(decision())
        full_disk["full"] = False
        await eventually(lambda: not log.faults())
        await log.append(decision())
        await log.close()

    asyncio.run(run())
    assert len(keys_in(tmp_path)) == 2
    assert sum(lost(metrics).values()) == 0  # whoever was refused was told: nothing is lost in silence


def test_a_full_disk_counts_where_it_may_not_refuse(tmp_path: Path, full_disk: dict[str, bool]) -> None:
    log, metrics = made(tmp_path, on_failure="count")

    async def run() -> None:
        log.start()
        await log.append(exposure(), decision())
        log.offer(decision())
        assert log.faults() == []
        assert value(metrics, "cpfd_log_failing") == 1
        await eventually(lambda: lost(metrics)["write_failed"] == 3)
        await log.close()

    asyncio.run(run())


def test_a_disk_that_is_really_full_is_noticed_and_what_was_told_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own refusal, by its bound on pages: SQLITE_FULL, as of a disk."""
    monkeypatch.setattr(group, "RETRY_S", 60)
    log, _ = made(tmp_path)
    held: list[str] = []

    async def run() -> None:
        log.start()
        store = log._group._store
        assert store is not None
        store._connection.execute("PRAGMA max_page_count = 20")
        for _ in range(1000):
            record = decision(timings_ms={f"stage-{i}": 1.0 for i in range(50)})
            if not await log.stored(record):
                break
            held.append(record.decision_id)
        assert log.faults() == [f"the decision log cannot be written: {FULL}"]
        await log.close()

    asyncio.run(run())
    assert 0 < len(held) < 1000
    assert sorted(key[1] for key in keys_in(tmp_path)) == sorted(held)


def test_what_the_directory_may_hold_is_a_disk_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "RETRY_S", 0.05)
    (tmp_path / "decisions").mkdir()
    parquet = tmp_path / "decisions" / "old.parquet"
    parquet.write_bytes(bytes(200_000))
    log, _ = made(tmp_path, max_bytes=150_000)

    async def run() -> None:
        log.start()
        assert log.faults() == ["the decision log cannot be written: it holds log.max_bytes already"]
        parquet.unlink()  # shipped, and expired
        await eventually(lambda: not log.faults())
        await log.append(decision())
        await log.close()

    asyncio.run(run())


def test_a_directory_that_cannot_be_made_is_a_fault_and_no_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log, _ = made(tmp_path / "file" / "log")

    async def run() -> None:
        log.start()
        (fault,) = log.faults()
        assert fault.startswith("the decision log cannot be written: ")
        assert str(tmp_path) not in fault
        await log.close()

    asyncio.run(run())


def test_more_than_may_wait_are_refused_or_counted(tmp_path: Path) -> None:
    async def run(on_failure: str) -> Metrics:
        log, metrics = made(tmp_path, max_waiting=2, on_failure=on_failure)  # its thread does not run yet
        waiting = [asyncio.ensure_future(log.append(decision())) for _ in range(2)]
        await asyncio.sleep(0)
        log.offer(decision())
        if on_failure == "refuse":
            with pytest.raises(LogUnavailable):
                await log.append(decision())
        else:
            await log.append(decision())
        log.start()
        await asyncio.gather(*waiting)
        await log.close()
        return metrics

    assert lost(asyncio.run(run("refuse")))["queue_full"] == 1
    assert lost(asyncio.run(run("count")))["queue_full"] == 2


def test_a_disk_that_hangs_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, write = threading.Event(), Store.write

    def waiting_write(self: Store, records: list[Record]) -> int:
        assert hangs.wait(30)
        return write(self, records)

    monkeypatch.setattr(Store, "write", waiting_write)
    log, metrics = made(tmp_path, max_wait_seconds=0.05)

    async def run() -> None:
        log.start()
        with pytest.raises(LogUnavailable):
            await log.append(decision())
        with pytest.raises(LogUnavailable):  # at once: the thread still hangs
            await log.append(decision())
        assert log.faults() == ["the decision log has not been written for over 0.05 s"]
        assert value(metrics, "cpfd_log_failing") == 1
        hangs.set()
        await eventually(lambda: not log.faults())
        await log.close()

    asyncio.run(run())
    assert len(keys_in(tmp_path)) == 1


def test_a_record_that_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    log, _ = made(tmp_path)
    good, bad = decision(), decision(code="\ud800")  # no text that UTF-8 can hold

    async def run() -> list[bool]:
        waiting = [asyncio.ensure_future(log.stored(record)) for record in (good, bad, decision())]
        await asyncio.sleep(0)
        log.start()
        found = await asyncio.gather(*waiting)
        await log.close()
        return list(found)

    assert asyncio.run(run()) == [True, False, True]
    assert len(keys_in(tmp_path)) == 2


def test_whoever_left_costs_nobody_else(tmp_path: Path) -> None:
    log, _ = made(tmp_path)

    async def run() -> None:
        leaving, staying = (asyncio.ensure_future(log.append(decision())) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        log.start()
        await staying
        await log.close()

    asyncio.run(run())
    assert len(keys_in(tmp_path)) == 2


def test_without_a_directory_nothing_is_kept_and_nothing_refused() -> None:
    log = NullLog()

    async def run() -> None:
        log.start()
        await log.append(decision())
        log.offer(decision())
        assert not await log.stored(feedback())
        await log.close()

    asyncio.run(run())
    assert (log.faults(), log.kept) == ([], False)
