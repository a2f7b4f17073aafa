"""The worker's line: it may come in pieces; what is no line of a worker's is a dead worker."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from service.decoding.lines import MAX_LINE
from service.decoding.process import DecodeProcess, WorkerDied


def answer(*pieces: bytes, closes: bool = False) -> dict[str, Any]:
    """What the service reads where a worker writes these pieces, one after the other."""

    async def scenario() -> dict[str, Any]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:
            process = DecodeProcess.__new__(DecodeProcess)
            process._socket = ours
            reading = asyncio.create_task(process._answer())
            for piece in pieces:
                await asyncio.sleep(0)
                theirs.sendall(piece)
                while not reading.done() and _unread(ours):  # noqa: ASYNC110  polls what has no event
                    await asyncio.sleep(0.001)
            if closes:
                theirs.close()
            async with asyncio.timeout(30):
                return await reading

    return asyncio.run(scenario())


def _unread(ours: socket.socket) -> bool:
    try:
        return bool(ours.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def test_an_answer_may_come_in_pieces() -> None:
    line = json.dumps({"frames": list(range(50)), "codec": "h264"}).encode() + b"\n"
    assert answer(line) == json.loads(line)
    assert answer(line[:7], line[7:8], line[8:-1], line[-1:]) == json.loads(line)


@pytest.mark.parametrize("said", [b"no json\n", b"[1]\n", b"7\n", b"null\n", b"\n"])
def test_a_line_that_no_worker_says_is_a_dead_worker(said: bytes) -> None:
    with pytest.raises(WorkerDied):
        answer(said)


def test_a_worker_that_goes_away_in_its_line_is_dead() -> None:
    with pytest.raises(WorkerDied):
        answer(closes=True)
    with pytest.raises(WorkerDied):
        answer(b'{"half":', closes=True)


def test_a_line_without_end_is_given_up() -> None:
    with pytest.raises(WorkerDied):
        answer(b"x" * MAX_LINE, b"x", b"x")
