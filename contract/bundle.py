"""The bundle: a directory that holds a model and everything needed to serve it as it was trained.

    bundle.json      BundleManifest: the digests of the other files, and all that is not a tensor
    model.onnx       frames and text in, one ``logits_<task>`` for each task out
    tokenizer.json   the text side of the input spec
    golden.npz       ``input_<name>`` and ``logits_<task>`` arrays: what the model must answer
    MODEL_CARD.md    for people
    reference.json   optional: the distribution of its scores on held-out rows (``contract.reference``)

``read_bundle`` verifies versions and every digest before anything is used.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from contract.decision import DecisionPolicy, TaskSpec
from contract.errors import BundleError
from contract.example import INPUT_NAMES
from contract.frozen import FrozenDocument
from contract.input_spec import InputSpec
from contract.reference import ScoreReference
from contract.text import TextTokenizer

FORMAT_VERSION = 1
MANIFEST_FILE = "bundle.json"
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
GOLDEN_FILE = "golden.npz"
MODEL_CARD_FILE = "MODEL_CARD.md"
REFERENCE_FILE = "reference.json"
DIGESTED_FILES = (MODEL_FILE, TOKENIZER_FILE, GOLDEN_FILE, MODEL_CARD_FILE)
"""What every bundle holds beside its manifest."""
OPTIONAL_FILES = (REFERENCE_FILE,)
"""What a bundle may hold; its manifest then has their digests too."""


class Provenance(FrozenDocument):
    """Where the model came from. Digests are SHA-256 in hex."""

    method: str
    """The training method: ``ce`` (the X-VLM baseline), ``pfd``, ``cpfd``, ..."""
    manifest_digest: str
    config_digest: str
    checkpoint_digest: str
    teacher_digest: str | None = None
    seed: int
    created: str
    """ISO 8601 date of the export."""
    metrics: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Task -> metric -> value, on the held-out split of this very model."""


class BundleManifest(FrozenDocument):
    """``bundle.json``."""

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    architecture: str
    tasks: tuple[TaskSpec, ...] = Field(min_length=1)
    input_spec: InputSpec
    policy: DecisionPolicy
    opset: int = Field(ge=1)
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    parity_max_abs_difference: float = Field(ge=0)
    """The largest difference between torch and ONNX logits seen at export."""
    golden_tolerance: float = Field(gt=0)
    """How far a replayed golden logit may lie from the recorded one on any execution provider."""
    files: dict[str, str]
    """File name -> SHA-256 in hex."""
    provenance: Provenance

    @model_validator(mode="after")
    def _consistent(self) -> BundleManifest:
        self.policy.check(self.tasks)
        if self.input_names != INPUT_NAMES:
            raise ValueError(f"input_names must be {INPUT_NAMES}")
        if self.output_names != tuple(task.output_name for task in self.tasks):
            raise ValueError("output_names must be logits_<task>, in the order of the tasks")
        if set(self.files) - set(OPTIONAL_FILES) != set(DIGESTED_FILES):
            names = ", ".join(DIGESTED_FILES)
            raise ValueError(f"files must hold the digests of {names}; it may hold {', '.join(OPTIONAL_FILES)}")
        return self


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
        reference: the distribution of its scores on held-out rows; None where the bundle holds none.
    """

    directory: Path
    manifest: BundleManifest
    digest: str
    tokenizer: TextTokenizer
    golden: Golden
    reference: ScoreReference | None = None

    @property
    def model_path(self) -> Path:
        return self.directory / MODEL_FILE


def file_digest(path: Path) -> str:
    """SHA-256, in hex, of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bundle(directory: Path) -> Bundle:
    """The bundle in ``directory``, after its versions and the digest of every file were verified.

    Raises:
        BundleError: something is missing, altered or of another version. The message names the file.
    """
    manifest, digest = read_manifest(directory)
    for name, expected in manifest.files.items():
        found = _digest_of(directory / name)
        if found != expected:
            raise BundleError(
                f"{directory / name}: its SHA-256 is {found[:12]}..., {MANIFEST_FILE} says {expected[:12]}...: "
                "the file was altered or belongs to another bundle"
            )
    try:
        tokenizer = TextTokenizer(directory / TOKENIZER_FILE, manifest.input_spec)
    except ValueError as error:
        raise BundleError(f"{directory / TOKENIZER_FILE}: {error}") from error
    golden = _read_golden(directory / GOLDEN_FILE, manifest)
    return Bundle(directory, manifest, digest, tokenizer, golden, _read_reference(directory, manifest))


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


def _digest_of(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error


def _read_golden(path: Path, manifest: BundleManifest) -> Golden:
    try:
        # numpy leaves a file open that it opened itself and then cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            inputs = {name: arrays[f"input_{name}"] for name in manifest.input_names}
            logits = {task.name: arrays[task.output_name] for task in manifest.tasks}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: not the golden examples of this bundle: {error}") from error
    return Golden(inputs, logits)


def _read_reference(directory: Path, manifest: BundleManifest) -> ScoreReference | None:
    """The reference that the manifest names; a file that it does not name is never read."""
    if REFERENCE_FILE not in manifest.files:
        return None
    path = directory / REFERENCE_FILE
    try:
        reference = ScoreReference.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(f"{path}: not a score reference: {error}") from error
    of_bundle = (manifest.files[MODEL_FILE], manifest.policy.digest())
    if (reference.model_digest, reference.policy_digest) != of_bundle:
        raise BundleError(f"{path}: made with another model or policy than the bundle's: make it again")
    if strangers := sorted(set(reference.tasks) - {task.name for task in manifest.tasks}):
        raise BundleError(f"{path}: holds {strangers[0]}, which is no task of the bundle")
    return reference


def write_golden(path: Path, golden: Golden) -> None:
    """Writes ``golden.npz`` as ``read_bundle`` expects it."""
    arrays = {f"input_{name}": array for name, array in golden.inputs.items()}
    arrays |= {f"logits_{name}": array for name, array in golden.logits.items()}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
