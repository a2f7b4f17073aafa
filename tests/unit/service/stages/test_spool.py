"""The spool: hashed, bounded, unnamed."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from service.errors import BodyTooLarge
from service.stages.spool import Spool


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
