"""A bundle from a directory, a web server or an object store -> a verified directory, or nothing.

    python -m service.fetch_bundle --digest <sha256 of bundle.json> --source <where> --into /bundles/student

``--source`` is a directory, ``file://``, ``http(s)://``, or any other URL that an installed fsspec opens (``s3://``,
``gs://``); below it lie ``bundle.json`` and the files that it names. Without ``--source`` the bundle that lies in
``--into`` is verified where it is. Nothing appears in ``--into`` before every digest was verified, and the golden clip
and title were decoded and tokenised as at the export (the model is proved where it is served). What is there already
with the right digest is kept: a restarted init container fetches nothing.

Exit 0: verified, one line of JSON on stdout. 1: refused, one line on stderr. 2: bad usage.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import re
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from contract.bundle import MANIFEST_FILE, Bundle, read_bundle, read_manifest
from contract.errors import BundleError, GoldenMismatch
from contract.proof import explained, prove_inputs_here
from contract.video import DecodeLimits
from service.errors import StartError

MAX_BYTES = 4 * 1024**3
_CHUNK = 1024 * 1024
_TIMEOUT_S = 30.0
_ATTEMPTS = 4
_DIGEST = re.compile(r"[0-9a-f]{64}")


def fetch_bundle(
    source: str | None, digest: str, into: Path, *, max_bytes: int = MAX_BYTES, first_wait_s: float = 1.0
) -> Bundle:
    """The bundle ``digest``, verified, in ``into``.

    Args:
        source: where it comes from; None: it must lie in ``into`` already.
        digest: SHA-256, in hex, of its ``bundle.json``, which holds the digests of the other files.
        into: its directory; appears whole or not at all.
        max_bytes: of one file.
        first_wait_s: before the second of four attempts; doubles each time.

    Raises:
        StartError: it cannot be had, or is not what the digest names. One line.
    """
    if source is None:
        return _verified(into, digest)
    if into.exists():
        try:
            return _verified(into, digest)
        except StartError:
            pass  # a bundle of another digest, or half of one: replaced below
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=into.parent) as scratch:
        arrived = Path(scratch) / "bundle"
        arrived.mkdir(mode=0o755)
        _copy(source, MANIFEST_FILE, arrived, max_bytes, first_wait_s)
        _refuse_other(arrived, digest)  # before the large files
        for name in _named_files(arrived):
            _copy(source, name, arrived, max_bytes, first_wait_s)
        _verified(arrived, digest)
        if into.exists():
            into.rename(Path(scratch) / "replaced")
        arrived.rename(into)
    return _verified(into, digest)


def _named_files(directory: Path) -> list[str]:
    """The files that the manifest names; it is of the right digest already."""
    try:
        return list(read_manifest(directory)[0].files)
    except BundleError as error:
        raise StartError(str(error)) from error


def _verified(directory: Path, digest: str) -> Bundle:
    """The bundle, every file of which its digest names; its golden clip and title become here what they must."""
    _refuse_other(directory, digest)
    try:
        bundle = read_bundle(directory)
        if bundle.clip is not None:
            prove_inputs_here(bundle, DecodeLimits())
    except GoldenMismatch as error:
        raise StartError(explained(bundle, error)) from error
    except BundleError as error:
        raise StartError(str(error)) from error
    return bundle


def _refuse_other(directory: Path, digest: str) -> None:
    path = directory / MANIFEST_FILE
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise StartError(f"{path}: cannot be read: {error.strerror}") from error
    if found != digest:
        raise StartError(f"{path}: its SHA-256 is {found}, {digest} was asked for: refused")


def _copy(source: str, name: str, directory: Path, max_bytes: int, wait_s: float) -> None:
    """Brings one file; tries again where another attempt may help.

    Raises:
        StartError: it cannot be had, or is over ``max_bytes``.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with _opened(source, name) as incoming, (directory / name).open("wb") as file:
                _pour(incoming, file, max_bytes, name)
            return
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if attempt == _ATTEMPTS or not _may_pass(error):
                raise StartError(f"{_shown(source)}: {name} cannot be fetched: {_reason(error)}") from error
            time.sleep(wait_s * 2 ** (attempt - 1))
        except StartError:
            raise
        except Exception as error:  # a store's library raises types of its own, and has tried again by itself
            raise StartError(f"{_shown(source)}: {name} cannot be fetched: {type(error).__name__}") from error


def _pour(incoming: BinaryIO, file: BinaryIO, max_bytes: int, name: str) -> None:
    size = 0
    while chunk := incoming.read(_CHUNK):
        size += len(chunk)
        if size > max_bytes:
            raise StartError(f"{name}: over the limit of {max_bytes} bytes: refused")
        file.write(chunk)


@contextmanager
def _opened(source: str, name: str) -> Iterator[BinaryIO]:
    """The bytes of ``name`` below ``source``."""
    url = urlsplit(source)
    if url.scheme in ("", "file"):
        with (Path(unquote(url.path) if url.scheme else source) / name).open("rb") as file:
            yield file
    elif url.scheme in ("http", "https"):
        with urllib.request.urlopen(_below(url, name), timeout=_TIMEOUT_S) as answer:
            yield answer
    else:
        try:
            import fsspec
        except ImportError as error:
            raise StartError(
                f"{url.scheme}://: needs fsspec, which is not installed: build the image with STORE=s3"
            ) from error
        try:
            opened = fsspec.open(_below(url, name), "rb")
        except (ImportError, ValueError) as error:
            raise StartError(f"{url.scheme}://: fsspec cannot open it: {error}") from error
        with opened as file:
            yield file


def _below(url: SplitResult, name: str) -> str:
    return urlunsplit(url._replace(path=f"{url.path.rstrip('/')}/{name}"))


def _may_pass(error: Exception) -> bool:
    """Whether the same attempt may succeed later."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 429)
    return not isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError | IsADirectoryError)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _shown(source: str) -> str:
    """The source without user, password and query: those may be secrets."""
    url = urlsplit(source)
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))


def _digest_argument(text: str) -> str:
    digest = text.removeprefix("sha256:").lower()
    if not _DIGEST.fullmatch(digest):
        raise argparse.ArgumentTypeError("64 hexadecimal digits: sha256sum bundle.json")
    return digest


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m service.fetch_bundle",
        description="Fetches a bundle and verifies it.",
        epilog="example: python -m service.fetch_bundle --source https://models.example/cpfd-student/0.1.0 "
        "--digest $(sha256sum < bundle.json | cut -c1-64) --into /bundles/student",
    )
    parser.add_argument("--source", help="directory or URL that holds bundle.json; without it --into is verified")
    parser.add_argument("--digest", required=True, type=_digest_argument, help="SHA-256 of bundle.json")
    parser.add_argument("--into", required=True, type=Path, help="the bundle's directory")
    parser.add_argument("--max-bytes", type=int, default=MAX_BYTES, help="of one file")
    chosen = parser.parse_args(arguments)
    try:
        bundle = fetch_bundle(chosen.source, chosen.digest, chosen.into, max_bytes=chosen.max_bytes)
    except StartError as error:
        sys.stderr.write(f"cpfd: {error.detail}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"cpfd: {error.filename or chosen.into}: {error.strerror}\n")
        return 1
    manifest = bundle.manifest
    line = {"directory": str(chosen.into), "name": manifest.name, "version": manifest.version, "digest": bundle.digest}
    sys.stdout.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
