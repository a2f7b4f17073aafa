"""JSON lines on stderr: one INFO line a request, none for probes; never media, text or URLs.

A thread writes them, fed by a bounded queue: whoever reads stderr may stop reading, and nothing here waits for it. What
the queue does not hold is dropped and counted, and the next line that is written says how much.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

_STDERR = 2
_RETRY_S = 0.05
_FLUSH_S = 1.0
FIELDS = "fields"
"""A record's ``extra={"fields": {...}}`` is merged into its line."""


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, then its fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, FIELDS, {})
        if record.exc_info and record.exc_info[0] is not None:
            kind, _, trace = record.exc_info
            # The exception's own text may quote the sender's data: its type and place are what the operator needs.
            line["exception"] = kind.__name__
            line["at"] = [f"{f.filename.rpartition('/')[2]}:{f.lineno} {f.name}" for f in traceback.extract_tb(trace)]
        return json.dumps(line, ensure_ascii=False, default=str)


class LineWriter:
    """Lines on their way to a descriptor.

    Args:
        max_lines: how many may wait.
        descriptor: where they go; never closed here.

    Attributes:
        on_drop: called for each line that is dropped, from whatever thread.
    """

    def __init__(self, max_lines: int, descriptor: int = _STDERR) -> None:
        self._lines: queue.Queue[str] = queue.Queue(max_lines)
        self._descriptor = descriptor
        self._unsaid = 0
        self.on_drop: Callable[[], object] = lambda: None
        threading.Thread(target=self._write_all, name="logs", daemon=True).start()

    def put(self, line: str) -> None:
        """Takes a line without its end, or drops it; never waits."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._unsaid += 1
            self.on_drop()

    def flush(self, seconds: float = _FLUSH_S) -> None:
        """Returns when all lines are written, or when it has waited so long."""
        end = time.monotonic() + seconds
        with self._lines.all_tasks_done:
            while self._lines.unfinished_tasks and (left := end - time.monotonic()) > 0:
                self._lines.all_tasks_done.wait(left)

    def _write_all(self) -> None:
        while True:
            line = self._lines.get()
            if self._unsaid:
                unsaid, self._unsaid = self._unsaid, 0
                self._write(JsonLines().format(_record("log lines were dropped", {"lines": unsaid})))
            self._write(line)
            self._lines.task_done()

    def _write(self, line: str) -> None:
        left = memoryview(f"{line}\n".encode("utf-8", "backslashreplace"))
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # somebody made it non-blocking, and nobody reads it
                time.sleep(_RETRY_S)
            except OSError:  # nobody will ever read it
                self.on_drop()
                return


def _record(message: str, fields: dict[str, Any]) -> logging.LogRecord:
    made = logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, (), None)
    setattr(made, FIELDS, fields)
    return made


class LineHandler(logging.Handler):
    """Formats where the line is logged, so that what it quotes is let go at once; writes elsewhere."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self.writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.writer.put(self.format(record))
        except Exception:  # logging's own report of it would go to stderr, and might wait there
            self.writer.on_drop()


def configure_logs(level: str, max_lines: int) -> LineWriter:
    """Sends everything logged in this process, uvicorn included, to stderr as JSON lines; returns what writes them."""
    handler = LineHandler(LineWriter(max_lines))
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, root.level))
    return handler.writer


def say(line: str) -> None:
    """A bare line for the operator, after all that was logged; waits a second for it at most."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LineHandler):
            handler.writer.put(line)
            handler.writer.flush()
            return
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{line}\n")
