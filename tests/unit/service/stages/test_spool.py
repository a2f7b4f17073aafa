"""The spool: hashed, bounded, unnamed."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from service.errors import BodyTooLarge, StartError, StorageExhausted
from service.stages.spool import Spool, check_spool


def names_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def test_what_goes_in_is_on_disk_hashed_and_without_a_name(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000

    async def fill() -> None:
        with Spool(tmp_path, max_bytes=len(data)) as spool:
            for start in range(0, len(data), 65_536):
                spool.add(data[start : start + 65_536])
                await spool.flush()
            await spool.flush(final=True)
            assert names_in(tmp_path) == []
            assert os.pread(spool.fileno(), len(data) + 1, 0) == data
            assert spool.digest() == hashlib.sha256(data).hexdigest()
            assert spool.size == len(data)

    asyncio.run(fill())


def test_it_refuses_the_byte_too_many() -> None:
    with Spool(None, max_bytes=3) as spool:
        spool.add(b"abc")
        with pytest.raises(BodyTooLarge):
            spool.add(b"d")
        assert spool.size == 3


@pytest.mark.parametrize("final", [False, True])
def test_a_disk_that_takes_no_more_is_said_to_caller_and_operator(
    caplog: pytest.LogCaptureFixture, final: bool
) -> None:
    async def fill() -> None:
        with Spool(None, max_bytes=4_000_000) as spool:
            spool._file.close()
            spool._file = open("/dev/full", "wb", buffering=0)  # type: ignore[assignment]  # noqa: ASYNC230, PTH123, SIM115
            spool.add(b"x" * 2_000_000)
            await spool.flush(final=final)

    with pytest.raises(StorageExhausted) as told:
        asyncio.run(fill())
    assert told.value.retry_after_s
    assert "No space left" not in told.value.detail
    assert caplog.messages == ["the spool takes no upload: No space left on device"]


def test_a_directory_that_is_gone_is_no_defect_of_the_request(tmp_path: Path) -> None:
    with pytest.raises(StorageExhausted):
        Spool(tmp_path / "gone", max_bytes=3)


def test_a_start_finds_out_whether_uploads_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_spool(tmp_path)
    assert names_in(tmp_path) == []
    with pytest.raises(StartError, match=f"spool_directory: {tmp_path}/gone cannot be written: No such file"):
        check_spool(tmp_path / "gone")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(StartError, match="the system's temporary directory cannot be written"):
        check_spool(None)


def test_a_disk_that_opens_files_and_takes_no_byte_is_found_out_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = open("/dev/full", "wb")  # noqa: PTH123, SIM115
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
    with pytest.raises(StartError, match="No space left"):
        check_spool(tmp_path)


def test_small_pieces_wait_in_memory_until_a_thread_is_worth_it_or_they_are_the_last(tmp_path: Path) -> None:
    async def fill() -> None:
        with Spool(tmp_path, max_bytes=4 << 20) as spool:
            spool.add(b"x" * ((1 << 20) - 1))
            await spool.flush()
            assert os.fstat(spool.fileno()).st_size == 0
            spool.add(b"y")
            await spool.flush()
            assert os.fstat(spool.fileno()).st_size == 1 << 20
            spool.add(b"z")
            await spool.flush(final=True)
            assert os.pread(spool.fileno(), 3, (1 << 20) - 1) == b"yz"
            assert spool.digest() == hashlib.sha256(b"x" * ((1 << 20) - 1) + b"yz").hexdigest()
        with pytest.raises(ValueError, match="closed"):
            spool.fileno()

    asyncio.run(fill())
