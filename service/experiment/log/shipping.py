"""Parquet files of the log -> an object store or another directory, by fsspec. A file is marked once it was read back.

The mark holds address, size and SHA-256. What is there already with the same bytes is marked, not sent again: shipping
may be killed at any moment.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.decision_log import RECORDS
from service.experiment.log.compaction import shipped_mark
from service.experiment.log.files import alone_in

_CHUNK = 1024 * 1024
_LOCAL = frozenset({"file", "local"})


@dataclass
class Shipped:
    """What shipping did.

    Attributes:
        files: files that were marked now.
        bytes: of those.
        failed: files that did not come back as they were sent, and why; they are tried again next time.
    """

    files: int = 0
    bytes: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def ship(directory: Path, to: str) -> Shipped:
    """Copies every Parquet file that is not marked for this address.

    Args:
        directory: of the log.
        to: a URL that fsspec opens (``s3://bucket/prefix``, ``file:///archive``).

    Raises:
        CompactionRunning: another process works on the directory.
        ValueError, ImportError: fsspec does not know such addresses, or lacks what they need.
    """
    import fsspec

    system, root = fsspec.core.url_to_fs(to)
    done = Shipped()
    with alone_in(directory):
        for kind in RECORDS:
            for part in sorted((directory / kind.table).glob("date=*/*.parquet")):
                if _marked(part, to):
                    continue
                name = part.relative_to(directory).as_posix()
                try:
                    mark = _send(system, part, f"{root.rstrip('/')}/{name}", to)
                except OSError as error:
                    done.failed[name] = error.strerror or type(error).__name__
                    continue
                shipped_mark(part).write_text(json.dumps(mark), encoding="utf-8")
                done.files += 1
                done.bytes += mark["size"]
    return done


def _marked(part: Path, to: str) -> bool:
    try:
        return bool(json.loads(shipped_mark(part).read_text(encoding="utf-8"))["to"] == to)
    except (OSError, ValueError, KeyError):
        return False


def _send(system: Any, part: Path, target: str, to: str) -> dict[str, Any]:
    """The mark of a file that lies there whole. Raises OSError where it does not."""
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = part.stat().st_size
    if not _lies_there(system, target, size, digest):
        system.makedirs(target.rpartition("/")[0], exist_ok=True)
        if _LOCAL.intersection([system.protocol] if isinstance(system.protocol, str) else system.protocol):
            system.put_file(str(part), f"{target}.part")  # a store's own put is all or nothing; a directory's is not
            system.mv(f"{target}.part", target)
        else:
            system.put_file(str(part), target)
        if not _lies_there(system, target, size, digest):
            raise OSError(0, "it reads back otherwise than it was sent")
    return {"to": to, "size": size, "sha256": digest}


def _lies_there(system: Any, target: str, size: int, digest: str) -> bool:
    system.invalidate_cache()
    try:
        if system.size(target) != size:
            return False
        found = hashlib.sha256()
        with system.open(target, "rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
    except FileNotFoundError:
        return False
    return found.hexdigest() == digest
