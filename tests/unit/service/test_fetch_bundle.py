"""fetch_bundle: what arrives is what the digest names, whole, or nothing arrives."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import file_digest
from service.errors import StartError
from service.fetch_bundle import fetch_bundle, main
from tests.synthetic_bundle import rewrite_manifest, write_synthetic_bundle, write_synthetic_reference

FILES = {"bundle.json", "model.onnx", "tokenizer.json", "golden.npz", "golden.mp4", "MODEL_CARD.md"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_bundle(tmp_path_factory.mktemp("store") / "student")


@pytest.fixture(scope="module")
def digest(source: Path) -> str:
    return file_digest(source / "bundle.json")


class Store(SimpleHTTPRequestHandler):
    """A web server that fails the first requests with ``failures``."""

    failures: list[int]
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        if self.failures:
            self.send_error(self.failures.pop())
            return
        super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(folder: Path, *failures: int) -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []
    handler = type("Handler", (Store,), {"failures": list(failures), "seen": seen})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def leftovers(into: Path) -> list[str]:
    return [path.name for path in into.parent.iterdir() if path != into]


@pytest.mark.parametrize("form", ["{}", "file://{}", "{}/"])
def test_a_directory_is_copied(tmp_path: Path, source: Path, digest: str, form: str) -> None:
    into = tmp_path / "bundles" / "student"
    assert fetch_bundle(form.format(source), digest, into).digest == digest
    assert {path.name for path in into.iterdir()} == FILES
    assert leftovers(into) == []


def test_a_reference_that_the_manifest_names_comes_too(tmp_path: Path) -> None:
    kept = write_synthetic_bundle(tmp_path / "store" / "student")
    written = write_synthetic_reference(kept)
    into = tmp_path / "b"
    assert fetch_bundle(str(kept), file_digest(kept / "bundle.json"), into).reference == written
    assert {path.name for path in into.iterdir()} == FILES | {"reference.json"}


def test_a_web_server_is_read_again_after_its_faults(tmp_path: Path, source: Path, digest: str) -> None:
    with serving(source.parent, 503, 500) as (url, _):
        assert fetch_bundle(f"{url}/student", digest, tmp_path / "b", first_wait_s=0).digest == digest


def test_the_query_of_a_signed_address_stays_at_its_end(tmp_path: Path, source: Path, digest: str) -> None:
    with serving(source.parent) as (url, seen):
        fetch_bundle(f"{url}/student?signature=x", digest, tmp_path / "b")
    assert seen[0] == "/student/bundle.json?signature=x"


def test_fsspec_opens_the_rest(tmp_path: Path, source: Path, digest: str) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(str(source), "/models/student", recursive=True)
    assert fetch_bundle("memory://models/student", digest, tmp_path / "b").digest == digest


def test_a_scheme_that_nothing_opens_is_refused(tmp_path: Path, digest: str) -> None:
    with pytest.raises(StartError, match="nosuch://"):
        fetch_bundle("nosuch://models/student", digest, tmp_path / "b")


def test_an_error_of_a_stores_library_is_one_line(
    tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class NoCredentialsError(Exception):
        pass

    def refusing(*_: object, **__: object) -> None:
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(pytest.importorskip("fsspec"), "open", refusing)
    assert main(["--source", "s3://user:word@models/x", "--digest", digest, "--into", str(tmp_path / "b")]) == 1
    assert capsys.readouterr().err == "cpfd: s3://models/x: bundle.json cannot be fetched: NoCredentialsError\n"


def test_what_is_there_already_is_kept(tmp_path: Path, source: Path, digest: str) -> None:
    into = tmp_path / "b"
    fetch_bundle(str(source), digest, into)
    before = (into / "model.onnx").stat().st_ino
    assert fetch_bundle("/no/such/place", digest, into).digest == digest
    assert (into / "model.onnx").stat().st_ino == before


def test_an_altered_copy_is_replaced(tmp_path: Path, source: Path, digest: str) -> None:
    into = tmp_path / "b"
    fetch_bundle(str(source), digest, into)
    (into / "model.onnx").write_bytes(b"half of i")
    fetch_bundle(str(source), digest, into)
    assert file_digest(into / "model.onnx") == file_digest(source / "model.onnx")
    assert leftovers(into) == []


def test_another_bundle_is_refused_before_its_model_is_fetched(tmp_path: Path, source: Path) -> None:
    with serving(source.parent) as (url, seen), pytest.raises(StartError, match="was asked for: refused"):
        fetch_bundle(f"{url}/student", "0" * 64, tmp_path / "b")
    assert seen == ["/student/bundle.json"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(FILES - {"bundle.json"}))
def test_an_altered_file_is_refused(tmp_path: Path, source: Path, digest: str, name: str) -> None:
    altered = Path(shutil.copytree(source, tmp_path / "store"))
    (altered / name).write_bytes((altered / name).read_bytes() + b" ")
    with pytest.raises(StartError, match=name):
        fetch_bundle(str(altered), digest, tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r["frame_times_ms"].__setitem__(0, 1.0), "decode: 119 ms"),
        (lambda r: r["input_ids"].append(3), "tokenisation: 1 tokens"),
    ],
)
def test_a_bundle_that_this_image_reads_otherwise_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    kept = write_synthetic_bundle(tmp_path / "store")
    rewrite_manifest(kept, lambda m: change(m["replay"]))
    with pytest.raises(StartError, match=says):
        fetch_bundle(str(kept), file_digest(kept / "bundle.json"), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_bundle_of_format_1_is_fetched(tmp_path: Path) -> None:
    kept = write_synthetic_bundle(tmp_path / "store", format_version=1)
    fetch_bundle(str(kept), file_digest(kept / "bundle.json"), tmp_path / "b")
    assert {path.name for path in (tmp_path / "b").iterdir()} == FILES - {"golden.mp4"}


def test_a_bundle_with_its_graph_under_another_name_is_fetched_whole(tmp_path: Path) -> None:
    kept = write_synthetic_bundle(tmp_path / "store")
    (kept / "model.onnx").rename(kept / "whole.onnx")
    manifest = json.loads((kept / "bundle.json").read_text())
    manifest["files"]["whole.onnx"] = manifest["files"].pop("model.onnx")
    (kept / "bundle.json").write_text(json.dumps(manifest | {"graphs": {"model": "whole.onnx"}}))
    bundle = fetch_bundle(str(kept), file_digest(kept / "bundle.json"), tmp_path / "b")
    assert bundle.graph() == (kept / "whole.onnx").read_bytes()


def test_a_file_over_the_limit_is_refused(tmp_path: Path, source: Path, digest: str) -> None:
    with pytest.raises(StartError, match="over the limit"):
        fetch_bundle(str(source), digest, tmp_path / "b", max_bytes=100)


def test_a_missing_file_is_not_asked_for_again_and_secrets_are_not_shown(tmp_path: Path, digest: str) -> None:
    with serving(tmp_path) as (url, seen), pytest.raises(StartError, match="HTTP 404") as refused:
        fetch_bundle(f"{url}/none?signature=secret", digest, tmp_path / "b", first_wait_s=0)
    assert len(seen) == 1
    assert "secret" not in refused.value.detail


def test_without_a_source_the_place_is_verified(tmp_path: Path, source: Path, digest: str) -> None:
    assert fetch_bundle(None, digest, source).digest == digest
    with pytest.raises(StartError, match="cannot be read"):
        fetch_bundle(None, digest, tmp_path / "nothing")


def test_the_command_says_what_it_did(
    tmp_path: Path, source: Path, digest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["--source", str(source), "--into", str(tmp_path / "b"), "--digest"]
    assert main([*wanted, f"sha256:{digest}"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == digest
    assert main([*wanted, "0" * 64]) == 1
    assert capsys.readouterr().err.startswith("cpfd: ")
    with pytest.raises(SystemExit) as usage:
        main([*wanted, "latest"])
    assert usage.value.code == 2
