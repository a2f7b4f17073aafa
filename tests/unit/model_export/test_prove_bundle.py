"""An export whose golden clip and title do not come out as recorded is not handed on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import read_bundle
from contract.errors import BundleError
from model_export.errors import ExportError
from model_export.write_bundle import _files_of, add_reference, prove_bundle
from tests.synthetic_bundle import rewrite_manifest, write_synthetic_bundle, write_synthetic_reference


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_synthetic_bundle(tmp_path / "bundle")


def test_a_bundle_as_it_was_written_is_proved(directory: Path) -> None:
    prove_bundle(read_bundle(directory))


@pytest.mark.parametrize(
    ("change", "stage"),
    [
        (lambda r: r["frame_times_ms"].__setitem__(0, 1.0), "decode"),
        (lambda r: r["input_ids"].append(3), "tokenisation"),
        (lambda r: r["scores"]["violence"].update(calm=0.1), "inference"),
    ],
)
def test_a_stage_that_comes_out_otherwise_is_an_export_error(
    directory: Path, change: Callable[[dict[str, Any]], object], stage: str
) -> None:
    rewrite_manifest(directory, lambda m: change(m["replay"]))
    with pytest.raises(ExportError, match=f"come out otherwise than at export: {stage}: "):
        prove_bundle(read_bundle(directory))


def test_a_bundle_of_format_1_cannot_be_proved_and_keeps_its_format(tmp_path: Path) -> None:
    old = write_synthetic_bundle(tmp_path / "old", format_version=1)
    with pytest.raises(BundleError, match="holds no golden clip"):
        prove_bundle(read_bundle(old))
    other = write_synthetic_bundle(tmp_path / "other", format_version=1)
    reference = write_synthetic_reference(other)
    changed = add_reference(old, reference).manifest
    assert (changed.format_version, changed.replay) == (1, None)
    assert '"graphs"' not in (old / "bundle.json").read_text()


def test_files_of_a_bundle_are_those_its_manifest_names(directory: Path) -> None:
    assert _files_of(directory) == {path.name for path in directory.iterdir()}
    (directory / "bundle.json").write_text("{}")
    assert {"model.onnx", "golden.mp4", "bundle.json", "reference.json"} <= _files_of(directory)
