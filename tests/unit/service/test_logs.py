"""Logs: one line of JSON each, and an exception's own text stays out."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading

import pytest

from service.logs import FIELDS, JsonLines, LineHandler, LineWriter


def record(**kwargs: object) -> logging.LogRecord:
    made = logging.LogRecord("service.x", logging.INFO, __file__, 1, "request", (), kwargs.get("exc_info"))  # type: ignore[arg-type]
    setattr(made, FIELDS, {"request_id": "r\n1", "code": "ok"})
    return made


def test_fields_are_merged_into_one_line() -> None:
    text = JsonLines().format(record())
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["message"], line["request_id"], line["code"]) == ("info", "request", "r\n1", "ok")


def test_an_exception_is_named_but_not_quoted() -> None:
    try:
        raise ValueError("the sender's secret title")
    except ValueError:
        text = JsonLines().format(record(exc_info=sys.exc_info()))
    assert "secret" not in text
    assert json.loads(text)["exception"] == "ValueError"
    assert "test_logs.py" in json.loads(text)["at"][0]


def test_lines_that_nobody_reads_are_dropped_and_counted_and_nothing_waits() -> None:
    reading, writing = os.pipe()
    dropped = 0

    def count() -> None:
        nonlocal dropped
        dropped += 1

    writer = LineWriter(max_lines=5, descriptor=writing)
    writer.on_drop = count
    line = "x" * 9_999
    for _ in range(100):
        writer.put(line)
    writer.flush(seconds=0.01)  # gives up
    assert dropped >= 80  # all but what waits, what is being written, and the 65,536 bytes that the pipe holds
    seen, more = b"", threading.Event()

    def read() -> None:
        nonlocal seen
        while not seen.endswith(b"last\n"):
            seen += os.read(reading, 65_536)
        more.set()

    reader = threading.Thread(target=read)
    reader.start()
    writer.flush(seconds=20)
    writer.put("last")
    assert more.wait(20)
    reader.join()
    lines = seen.decode().splitlines()
    notes = [json.loads(found) for found in lines if found.startswith("{")]
    assert sum(note["lines"] for note in notes) == dropped
    assert lines.count(line) == 100 - dropped
    os.close(reading)
    writer.put("to nobody")
    writer.flush(seconds=20)
    assert dropped == 100 - lines.count(line) + 1
    os.close(writing)


def test_a_descriptor_that_was_made_non_blocking_is_tried_again() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    writer = LineWriter(max_lines=100, descriptor=writing)
    for _ in range(20):
        writer.put("x" * 9_999)
    seen = 0
    while seen < 20 * 10_000:
        seen += len(os.read(reading, 65_536))
    writer.flush(seconds=20)
    os.close(reading)
    os.close(writing)


def test_a_record_that_cannot_be_formatted_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    drops: list[int] = []
    reading, writing = os.pipe()
    handler = LineHandler(LineWriter(max_lines=1, descriptor=writing))
    handler.writer.on_drop = lambda: drops.append(1)
    handler.handle(logging.LogRecord("x", logging.INFO, __file__, 1, "%d", ("no number",), None))
    assert drops == [1]
    assert capsys.readouterr().err == ""
    os.close(reading)
    os.close(writing)
