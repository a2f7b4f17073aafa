"""The bundle: a directory that holds a model and everything needed to serve it as it was trained.

    bundle.json      BundleManifest: the digests of the other files, and all that is not a tensor
    model.onnx       frames and text in, one ``logits_<task>`` for each task out; or several graphs, each with its role
    tokenizer.json   the text side of the input spec
    golden.npz       ``input_<name>`` and ``logits_<task>`` arrays: what the model must answer; ``replay_pixels``
    golden.mp4       a clip that is replayed from its bytes (``contract.replay``); bundles of format 1 have none
    MODEL_CARD.md    for people
    reference.json   optional: the distribution of its scores on held-out rows (``contract.reference``)

``read_bundle`` verifies versions and every digest before anything is used, and what is used are the bytes that were
verified. No file is read that the manifest does not name, and none may lie beside those that it names.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from contract.bundle_manifest import (
    CLIP_FILE,
    FORMAT_VERSION,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_CARD_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    TOKENIZER_FILE,
    WHOLE,
    BundleManifest,
    Provenance,
)
from contract.errors import BundleError
from contract.onnx_bytes import outside_of
from contract.reference import ScoreReference
from contract.replay import GoldenClip, thinned
from contract.text import TextTokenizer

__all__ = [
    "CLIP_FILE",
    "GOLDEN_FILE",
    "MANIFEST_FILE",
    "MODEL_CARD_FILE",
    "MODEL_FILE",
    "REFERENCE_FILE",
    "TOKENIZER_FILE",
    "WHOLE",
    "Bundle",
    "BundleManifest",
    "Golden",
    "Provenance",
    "file_digest",
    "read_bundle",
    "read_manifest",
    "write_golden",
]

_REPLAY_PIXELS = "replay_pixels"
_FILE_SYSTEMS_OWN = "lost+found"
"""The one stranger beside a bundle: the root of an ext4 volume always holds it."""


@dataclass(frozen=True)
class Golden:
    """Recorded examples: named inputs as ``contract.example`` lays them out, and the logits they must give."""

    inputs: dict[str, NDArray[Any]]
    logits: dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        directory: where it lies.
        manifest: its ``bundle.json``.
        digest: SHA-256 of ``bundle.json``'s bytes: it names the whole, since that file holds the others' digests.
        tokenizer: ready to encode.
        golden: recorded examples.
        clip: what is replayed from bytes; None in bundles of format 1.
        reference: the distribution of its scores on held-out rows; None where the bundle holds none.
    """

    directory: Path
    manifest: BundleManifest
    digest: str
    tokenizer: TextTokenizer
    golden: Golden
    clip: GoldenClip | None = None
    reference: ScoreReference | None = None

    def graph(self, role: str = WHOLE) -> bytes:
        """The bytes of an ONNX graph, verified as they are read: a runtime must be given these, never a path.

        Raises:
            BundleError: there is none of this role, or the file was altered since the bundle was read.
        """
        name = self.manifest.graphs.get(role)
        if name is None:
            raise BundleError(f"{self.directory}: holds no graph {role}, but {', '.join(self.manifest.graphs)}")
        return _verified(self.directory / name, self.manifest.files[name])


def file_digest(path: Path) -> str:
    """SHA-256, in hex, of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bundle(directory: Path) -> Bundle:
    """The bundle in ``directory``, after its versions and the digest of every file were verified.

    Raises:
        BundleError: something is missing, altered, of another version, or not named by the manifest. The message names
            the file.
    """
    manifest, digest = read_manifest(directory)
    _refuse_strangers(directory, manifest)
    held: dict[str, bytes] = {}
    for name, expected in manifest.files.items():
        data = _verified(directory / name, expected)
        if name in manifest.graphs.values():
            _refuse_outside_data(directory / name, data)  # not held: graph() reads it again, and verifies it again
        else:
            held[name] = data
    try:
        tokenizer = TextTokenizer(held[TOKENIZER_FILE], manifest.input_spec)
    except ValueError as error:
        raise BundleError(f"{directory / TOKENIZER_FILE}: {error}") from error
    golden, pixels = _read_golden(directory / GOLDEN_FILE, held[GOLDEN_FILE], manifest)
    clip = None if pixels is None else GoldenClip(held[CLIP_FILE], pixels)
    reference = _read_reference(directory / REFERENCE_FILE, held.get(REFERENCE_FILE), manifest)
    return Bundle(directory, manifest, digest, tokenizer, golden, clip, reference)


def read_manifest(directory: Path) -> tuple[BundleManifest, str]:
    """The manifest in ``directory`` and its digest; none of the other files is looked at.

    Raises:
        BundleError: it is missing or not a manifest of this format.
    """
    path = directory / MANIFEST_FILE
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        manifest = BundleManifest.model_validate_json(raw)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}" for e in error.errors()[:5])
        raise BundleError(f"{path}: not a bundle manifest of format {FORMAT_VERSION}: {faults}") from error
    return manifest, hashlib.sha256(raw).hexdigest()


def _verified(path: Path, expected: str) -> bytes:
    """The file's bytes. Raises BundleError where they are not those of the digest."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise BundleError(
            f"{path}: its SHA-256 is {actual[:12]}..., {MANIFEST_FILE} says {expected[:12]}...: "
            "the file was altered or belongs to another bundle"
        )
    return data


def _refuse_strangers(directory: Path, manifest: BundleManifest) -> None:
    """Raises BundleError where a file lies in the bundle that its digest does not name."""
    named = {MANIFEST_FILE, _FILE_SYSTEMS_OWN, *manifest.files}
    if strangers := sorted(entry.name for entry in directory.iterdir() if entry.name not in named):
        raise BundleError(f"{directory / strangers[0]}: {MANIFEST_FILE} does not name it: take it away")


def _refuse_outside_data(path: Path, graph: bytes) -> None:
    """Raises BundleError where the graph takes weights from other files, which its digest does not cover."""
    try:
        outside = outside_of(graph)
    except ValueError as error:
        raise BundleError(f"{path}: {error}") from error
    if outside:
        raise BundleError(f"{path}: takes {outside[0]} from a file of its own: export it with all weights inside")


def _read_golden(path: Path, data: bytes, manifest: BundleManifest) -> tuple[Golden, NDArray[np.uint8] | None]:
    """The golden examples, and the pixels expected of the golden clip, if there is one."""
    pixels: NDArray[np.uint8] | None = None
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            inputs = {name: arrays[f"input_{name}"] for name in manifest.input_names}
            logits = {task.name: arrays[task.output_name] for task in manifest.tasks}
            if manifest.replay is not None:
                pixels = arrays[_REPLAY_PIXELS]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: not the golden examples of this bundle: {error}") from error
    if pixels is not None:
        expected = thinned(np.empty(manifest.input_spec.frames_shape, np.uint8)).shape
        if pixels.shape != expected or pixels.dtype != np.uint8:
            raise BundleError(f"{path}: {_REPLAY_PIXELS} must be {expected} uint8")
    return Golden(inputs, logits), pixels


def _read_reference(path: Path, data: bytes | None, manifest: BundleManifest) -> ScoreReference | None:
    """The reference that the manifest names; None where it names none."""
    if data is None:
        return None
    try:
        reference = ScoreReference.model_validate_json(data)
    except ValidationError as error:
        raise BundleError(f"{path}: not a score reference: {error}") from error
    if (reference.model_digest, reference.policy_digest) != (manifest.model_digest, manifest.policy.digest()):
        raise BundleError(f"{path}: made with another model or policy than the bundle's: make it again")
    if strangers := sorted(set(reference.tasks) - {task.name for task in manifest.tasks}):
        raise BundleError(f"{path}: holds {strangers[0]}, which is no task of the bundle")
    return reference


def write_golden(path: Path, golden: Golden, replay_pixels: NDArray[np.uint8] | None = None) -> None:
    """Writes ``golden.npz`` as ``read_bundle`` expects it.

    Args:
        path: the file.
        golden: recorded examples.
        replay_pixels: (T, S, S, 3), what the golden clip gave.
    """
    arrays: dict[str, Any] = {f"input_{name}": array for name, array in golden.inputs.items()}
    arrays |= {f"logits_{name}": array for name, array in golden.logits.items()}
    if replay_pixels is not None:
        arrays[_REPLAY_PIXELS] = thinned(replay_pixels)
    np.savez_compressed(path, **arrays)
