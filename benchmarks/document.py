"""The dated documents of benchmarks: when and where, and the two files that a folder gets."""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def today() -> str:
    """The date, UTC, as documents are named by it."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def when_and_where() -> dict[str, str]:
    """``date`` and ``machine`` of a result."""
    machine = f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, Python {platform.python_version()}"
    return {"date": today(), "machine": machine}


def hand_over(result: Mapping[str, Any], name: str, page: str, out: Path | None) -> None:
    """Shows a result's page on stderr and writes DATE-NAME.md and .json into ``out``; without it, JSON to stdout.

    Args:
        result: with the ``date`` of ``when_and_where``.
        name: of the documents.
        page: Markdown.
        out: a folder, made if it is not there.
    """
    sys.stderr.write(page)
    text = json.dumps(result, indent=1) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    out.mkdir(parents=True, exist_ok=True)
    stem = out / f"{result['date']}-{name}"
    stem.with_suffix(".json").write_text(text, encoding="utf-8")
    stem.with_suffix(".md").write_text(page, encoding="utf-8")
