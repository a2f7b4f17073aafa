"""Logs: one line of JSON each, and an exception's own text stays out."""

from __future__ import annotations

import json
import logging
import sys

from service.logs import FIELDS, JsonLines


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
