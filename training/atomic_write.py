"""Files that are there whole or not at all: written beside their place and moved into it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Gives a path to write to, and moves the file into the place of ``path`` when all went well.

    A killed run leaves the old file or the new one.

    Args:
        path: the place.
        shared: whether several processes may write it at once; each then writes beside it under a name of its own.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial" if shared else f"{path.name}.partial")
    try:
        yield partial
        os.replace(partial, path)  # noqa: PTH105 - atomic over an existing file on every platform
    finally:
        partial.unlink(missing_ok=True)


def write_arrays(path: Path, **arrays: Any) -> None:
    """Writes an ``.npz`` through ``replacing``."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def replace_text(path: Path, text: str) -> None:
    """Writes text through ``replacing``; trials of one experiment share some files."""
    with replacing(path, shared=True) as partial:
        partial.write_text(text)


def write_json(path: Path, document: Any) -> None:
    """Writes JSON, indented and with sorted keys, through ``replacing``."""
    replace_text(path, json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n")
