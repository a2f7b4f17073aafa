"""A bundle is served as it was written, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from contract.bundle import (
    CLIP_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_CARD_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    TOKENIZER_FILE,
    file_digest,
    read_bundle,
)
from contract.errors import BundleError
from tests.synthetic_bundle import rewrite_manifest, write_synthetic_bundle, write_synthetic_reference

FILES = (MODEL_FILE, TOKENIZER_FILE, GOLDEN_FILE, CLIP_FILE, MODEL_CARD_FILE)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_synthetic_bundle(tmp_path / "bundle")


def test_a_whole_bundle_is_read_and_named_by_its_manifest(directory: Path) -> None:
    bundle = read_bundle(directory)
    assert bundle.digest == file_digest(directory / MANIFEST_FILE)
    assert bundle.graph() == (directory / MODEL_FILE).read_bytes()
    assert bundle.manifest.name == "synthetic"


def test_the_golden_examples_replay_together_and_one_by_one(directory: Path) -> None:
    bundle = read_bundle(directory)
    session = onnxruntime.InferenceSession(bundle.graph(), providers=["CPUExecutionProvider"])
    names = [task.output_name for task in bundle.manifest.tasks]
    rows = len(bundle.golden.inputs["frames"])
    together = session.run(names, bundle.golden.inputs)
    alone = [session.run(names, {k: v[i : i + 1] for k, v in bundle.golden.inputs.items()}) for i in range(rows)]
    for k, task in enumerate(bundle.manifest.tasks):
        np.testing.assert_array_equal(together[k], bundle.golden.logits[task.name])
        singles = np.concatenate([one[k] for one in alone])
        np.testing.assert_allclose(singles, together[k], atol=bundle.manifest.golden_tolerance)


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_found_and_the_file_named(directory: Path, name: str) -> None:
    data = bytearray((directory / name).read_bytes())
    data[len(data) // 2] ^= 1
    (directory / name).write_bytes(data)
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        read_bundle(directory)


@pytest.mark.parametrize("name", [*FILES, MANIFEST_FILE])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        read_bundle(directory)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(format_version=3),
        lambda m: m.update(format_version=1),
        lambda m: m.pop("replay"),
        lambda m: m["replay"].update(version=2),
        lambda m: m["replay"]["scores"].pop("violence"),
        lambda m: m["replay"]["scores"]["violence"].pop("calm"),
        lambda m: m["replay"]["frame_times_ms"].pop(),
        lambda m: m["replay"]["texts"].update(stranger="x"),
        lambda m: m.update(graphs={}),
        lambda m: m.update(graphs={"model": "../model.onnx"}),
        lambda m: m.update(graphs={"model": "model.pkl"}),
        lambda m: m.update(graphs={"vision": "model.onnx", "rest": "model.onnx"}),
        lambda m: m.update(graphs={"vision": "vision.onnx", "rest": "rest.onnx"}),
        lambda m: m["files"].pop("golden.mp4"),
        lambda m: m.update(surprise=1),
        lambda m: m.update(name="../escape"),
        lambda m: m.update(version="1"),
        lambda m: m["input_spec"].update(version=2),
        lambda m: m["input_spec"].pop("frames") and m["input_spec"].update(frames=0),
        lambda m: m["policy"]["tasks"].pop("violence"),
        lambda m: m["input_names"].reverse(),
        lambda m: m["output_names"].pop(),
        lambda m: m["output_names"].reverse(),
        lambda m: m["files"].pop("model.onnx"),
        lambda m: m["files"].update({"../../etc/passwd": "0" * 64}),
    ],
)
def test_a_manifest_of_another_kind_is_refused(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    rewrite_manifest(directory, change)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        read_bundle(directory)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[]", b"null"])
def test_a_manifest_that_is_no_document_is_refused(directory: Path, raw: bytes) -> None:
    (directory / MANIFEST_FILE).write_bytes(raw)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        read_bundle(directory)


def _npz_without_logits(path: Path) -> None:
    np.savez(path, input_frames=np.zeros(1))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04 not a zip"),
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: path.write_bytes(b"\x93NUMPY"),
        _npz_without_logits,
    ],
)
def test_golden_examples_that_are_none_are_refused(directory: Path, spoil: Callable[[Path], object]) -> None:
    spoil(directory / GOLDEN_FILE)
    rewrite_manifest(directory, lambda manifest: None)
    with pytest.raises(BundleError, match=r"golden\.npz"):
        read_bundle(directory)


def test_pixels_expected_of_the_golden_clip_have_the_frames_shape(directory: Path) -> None:
    with np.load(directory / GOLDEN_FILE) as arrays:
        held = dict(arrays)
    np.savez(directory / GOLDEN_FILE, **(held | {"replay_pixels": held["replay_pixels"][1:]}))
    rewrite_manifest(directory, lambda manifest: None)
    with pytest.raises(BundleError, match="replay_pixels"):
        read_bundle(directory)


class _Touch:
    """Makes a file when it is unpickled: what a bundle could run on the machine that reads it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._path,)


def test_a_pickle_among_the_golden_examples_is_refused_and_never_run(directory: Path, tmp_path: Path) -> None:
    with np.load(directory / GOLDEN_FILE) as arrays:
        golden: dict[str, Any] = dict(arrays)
    golden["input_frames"] = np.asarray([_Touch(tmp_path / "touched")], dtype=object)
    np.savez(directory / GOLDEN_FILE, **golden)
    rewrite_manifest(directory, lambda manifest: None)
    with pytest.raises(BundleError, match=r"golden\.npz"):
        read_bundle(directory)
    assert not (tmp_path / "touched").exists()


def test_a_tokenizer_that_is_none_is_refused(directory: Path) -> None:
    (directory / TOKENIZER_FILE).write_text("{}")
    rewrite_manifest(directory, lambda manifest: None)
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        read_bundle(directory)


def test_a_bundle_may_hold_no_reference(directory: Path) -> None:
    assert read_bundle(directory).reference is None


@pytest.mark.parametrize("name", [REFERENCE_FILE, "model.onnx.data", "weights.pkl", ".hidden"])
def test_a_file_that_the_manifest_does_not_name_is_refused(directory: Path, name: str) -> None:
    (directory / name).write_bytes(b"x")
    with pytest.raises(BundleError, match="does not name it") as raised:
        read_bundle(directory)
    assert name in str(raised.value)


def test_a_volumes_own_folder_is_no_stranger(directory: Path) -> None:
    (directory / "lost+found").mkdir()
    assert read_bundle(directory).manifest.name == "synthetic"


def test_a_graph_that_was_altered_after_the_bundle_was_read_is_never_handed_on(directory: Path) -> None:
    bundle = read_bundle(directory)
    (directory / MODEL_FILE).write_bytes((directory / MODEL_FILE).read_bytes() + b" ")
    with pytest.raises(BundleError, match=r"model\.onnx: its SHA-256"):
        bundle.graph()
    with pytest.raises(BundleError, match="no graph vision"):
        bundle.graph("vision")


def test_a_bundle_may_hold_several_graphs_under_other_names(directory: Path) -> None:
    whole = read_bundle(directory).manifest.model_digest
    (directory / "vision.onnx").write_bytes((directory / MODEL_FILE).read_bytes())
    (directory / MODEL_FILE).rename(directory / "rest.onnx")

    def split(manifest: dict[str, Any]) -> None:
        manifest["graphs"] = {"vision": "vision.onnx", "rest": "rest.onnx"}
        manifest["feature_shape"] = [8, 4]
        manifest["files"] |= {name: file_digest(directory / name) for name in manifest["graphs"].values()}
        manifest["files"].pop(MODEL_FILE)

    manifest = json.loads((directory / MANIFEST_FILE).read_text())
    split(manifest)
    (directory / MANIFEST_FILE).write_text(json.dumps(manifest))
    bundle = read_bundle(directory)
    assert bundle.graph("vision") == bundle.graph("rest")
    assert bundle.manifest.model_digest not in (whole, *bundle.manifest.files.values())
    (directory / "vision.onnx").write_bytes(b"altered")
    with pytest.raises(BundleError, match=r"vision\.onnx"):
        read_bundle(directory)


def test_weights_in_a_file_of_their_own_are_refused(directory: Path) -> None:
    model = onnx.load(directory / MODEL_FILE)
    onnx.save(model, directory / MODEL_FILE, save_as_external_data=True, location="weights", size_threshold=0)
    rewrite_manifest(directory, lambda m: None)
    (directory / "weights").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx: takes \w+ from a file of its own"):
        read_bundle(directory)


def test_a_bundle_of_format_1_is_read_and_written_as_it_was(tmp_path: Path) -> None:
    old = write_synthetic_bundle(tmp_path / "old", format_version=1)
    later = {"graphs", "replay", "feature_shape", "evidence_names", "weights"}
    assert not later & set(json.loads((old / MANIFEST_FILE).read_text()))
    new = json.loads((write_synthetic_bundle(tmp_path / "new") / MANIFEST_FILE).read_text())
    assert later <= set(new)
    bundle = read_bundle(old)
    assert bundle.clip is None
    assert bundle.manifest.graphs == {"model": MODEL_FILE}
    assert bundle.manifest.written() == (old / MANIFEST_FILE).read_text()


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
    rewrite_manifest(directory, lambda m: m["files"].update({REFERENCE_FILE: file_digest(directory / REFERENCE_FILE)}))
    with pytest.raises(BundleError, match=said) as raised:
        read_bundle(directory)
    assert REFERENCE_FILE in str(raised.value)


@pytest.mark.parametrize("spoil", [lambda p: p.unlink(), lambda p: p.write_text("{}")])
def test_a_reference_that_is_missing_or_altered_is_found(directory: Path, spoil: Callable[[Path], object]) -> None:
    write_synthetic_reference(directory)
    spoil(directory / REFERENCE_FILE)
    with pytest.raises(BundleError, match=r"reference\.json"):
        read_bundle(directory)
