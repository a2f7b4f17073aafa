"""A bundle is served as it was written, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from contract.bundle import (
    DIGESTED_FILES,
    GOLDEN_FILE,
    MANIFEST_FILE,
    REFERENCE_FILE,
    TOKENIZER_FILE,
    file_digest,
    read_bundle,
)
from contract.errors import BundleError
from tests.synthetic_bundle import write_synthetic_bundle, write_synthetic_reference


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_synthetic_bundle(tmp_path / "bundle")


def rewrite(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes bundle.json as somebody would who also brings the digests up to date."""
    manifest = json.loads((directory / MANIFEST_FILE).read_text())
    manifest["files"] = {name: file_digest(directory / name) for name in DIGESTED_FILES}
    change(manifest)
    (directory / MANIFEST_FILE).write_text(json.dumps(manifest))


def test_a_whole_bundle_is_read_and_named_by_its_manifest(directory: Path) -> None:
    bundle = read_bundle(directory)
    assert bundle.digest == file_digest(directory / MANIFEST_FILE)
    assert bundle.model_path.is_file()
    assert bundle.manifest.name == "synthetic"


def test_the_golden_examples_replay_together_and_one_by_one(directory: Path) -> None:
    bundle = read_bundle(directory)
    session = onnxruntime.InferenceSession(str(bundle.model_path), providers=["CPUExecutionProvider"])
    names = [task.output_name for task in bundle.manifest.tasks]
    rows = len(bundle.golden.inputs["frames"])
    together = session.run(names, bundle.golden.inputs)
    alone = [session.run(names, {k: v[i : i + 1] for k, v in bundle.golden.inputs.items()}) for i in range(rows)]
    for k, task in enumerate(bundle.manifest.tasks):
        np.testing.assert_array_equal(together[k], bundle.golden.logits[task.name])
        singles = np.concatenate([one[k] for one in alone])
        np.testing.assert_allclose(singles, together[k], atol=bundle.manifest.golden_tolerance)


@pytest.mark.parametrize("name", DIGESTED_FILES)
def test_one_flipped_bit_is_found_and_the_file_named(directory: Path, name: str) -> None:
    data = bytearray((directory / name).read_bytes())
    data[len(data) // 2] ^= 1
    (directory / name).write_bytes(data)
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        read_bundle(directory)


@pytest.mark.parametrize("name", [*DIGESTED_FILES, MANIFEST_FILE])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        read_bundle(directory)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(format_version=2),
        lambda m: m.update(surprise=1),
        lambda m: m.update(name="../escape"),
        lambda m: m.update(version="1"),
        lambda m: m["input_spec"].update(version=2),
        lambda m: m["input_spec"].pop("frames") and m["input_spec"].update(frames=0),
        lambda m: m["policy"]["tasks"].pop("violence"),
        lambda m: m["input_names"].reverse(),
        lambda m: m["output_names"].pop(),
        lambda m: m["files"].pop("model.onnx"),
        lambda m: m["files"].update({"../../etc/passwd": "0" * 64}),
    ],
)
def test_a_manifest_of_another_kind_is_refused(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    rewrite(directory, change)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        read_bundle(directory)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[]", b"null"])
def test_a_manifest_that_is_no_document_is_refused(directory: Path, raw: bytes) -> None:
    (directory / MANIFEST_FILE).write_bytes(raw)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        read_bundle(directory)


def _npz_without_logits(path: Path) -> None:
    np.savez(path, input_frames=np.zeros(1))


def _pickled(path: Path) -> None:
    np.savez(path, input_frames=np.asarray([object()], dtype=object))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04 not a zip"),
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: path.write_bytes(b"\x93NUMPY"),
        _npz_without_logits,
        _pickled,
    ],
)
def test_golden_examples_that_are_none_are_refused(directory: Path, spoil: Callable[[Path], object]) -> None:
    spoil(directory / GOLDEN_FILE)
    rewrite(directory, lambda manifest: None)
    with pytest.raises(BundleError, match=r"golden\.npz"):
        read_bundle(directory)


def test_a_tokenizer_that_is_none_is_refused(directory: Path) -> None:
    (directory / TOKENIZER_FILE).write_text("{}")
    rewrite(directory, lambda manifest: None)
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        read_bundle(directory)


def test_a_bundle_without_a_reference_has_none_whatever_lies_beside_it(directory: Path) -> None:
    assert read_bundle(directory).reference is None
    (directory / REFERENCE_FILE).write_text("what the manifest does not name is not read")
    assert read_bundle(directory).reference is None


def test_a_reference_is_read_and_changes_the_bundles_digest(directory: Path) -> None:
    before = read_bundle(directory).digest
    written = write_synthetic_reference(directory)
    bundle = read_bundle(directory)
    assert bundle.reference == written
    assert bundle.digest != before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.update(model_digest="f" * 64), "another model"),
        (lambda r: r.update(policy_digest="f" * 64), "another model or policy"),
        (lambda r: r["tasks"].update(stranger=r["tasks"]["violence"]), "stranger"),
        (lambda r: r.update(version=2), "version"),
        (lambda r: r["tasks"]["violence"].update(counts=[1]), "counts"),
    ],
)
def test_a_reference_that_is_not_the_bundles_is_refused(
    directory: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    write_synthetic_reference(directory)
    document = json.loads((directory / REFERENCE_FILE).read_text())
    change(document)
    (directory / REFERENCE_FILE).write_text(json.dumps(document))
    rewrite(directory, lambda m: m["files"].update({REFERENCE_FILE: file_digest(directory / REFERENCE_FILE)}))
    with pytest.raises(BundleError, match=said) as raised:
        read_bundle(directory)
    assert REFERENCE_FILE in str(raised.value)


@pytest.mark.parametrize("spoil", [lambda p: p.unlink(), lambda p: p.write_text("{}")])
def test_a_reference_that_is_missing_or_altered_is_found(directory: Path, spoil: Callable[[Path], object]) -> None:
    write_synthetic_reference(directory)
    spoil(directory / REFERENCE_FILE)
    with pytest.raises(BundleError, match=r"reference\.json"):
        read_bundle(directory)
