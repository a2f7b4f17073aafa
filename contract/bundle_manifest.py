"""``bundle.json``: the digests of a bundle's other files, and all of it that is not a tensor."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from contract.decision import DecisionPolicy, TaskSpec
from contract.example import INPUT_NAMES
from contract.frozen import FrozenDocument, GrowingDocument
from contract.input_spec import InputSpec
from contract.replay import GoldenReplay

FORMAT_VERSION = 2
MANIFEST_FILE = "bundle.json"
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
GOLDEN_FILE = "golden.npz"
CLIP_FILE = "golden.mp4"
MODEL_CARD_FILE = "MODEL_CARD.md"
REFERENCE_FILE = "reference.json"
WHOLE = "model"
"""The role of a graph that does all."""
VISION, REST = "vision", "rest"
"""Frames -> statistics of moments, and from those and the text all else."""
VISION_FILE, REST_FILE = "vision.onnx", "rest.onnx"
_PLAIN_FILES = (TOKENIZER_FILE, GOLDEN_FILE, MODEL_CARD_FILE)
_OPTIONAL_FILES = (REFERENCE_FILE,)
"""What a bundle may hold; its manifest then has their digests too."""


class Provenance(GrowingDocument):
    """Where the model came from. Digests are SHA-256 in hex."""

    first_fields: ClassVar = frozenset(
        {
            "method",
            "manifest_digest",
            "config_digest",
            "checkpoint_digest",
            "teacher_digest",
            "seed",
            "created",
            "metrics",
        }
    )

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
    """Task -> metric -> value, on the held-out split of this very model; of one that has seen every fold, the mean over
    models that its recipe made of the other folds, at this one's thresholds."""
    test_fold: int | None = None
    """The fold that was left out for testing; None where there are no folds, or all were trained on."""
    every_fold_seen: bool = False
    """Whether no fold was left out, so that no row of a fold of its manifest can judge it."""


class WeightsUsed(FrozenDocument):
    """Weights that somebody else trained."""

    source: str
    licence: str
    sha256: str | None = None


Role = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
GraphFile = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*\.onnx$")]


class BundleManifest(FrozenDocument):
    """``bundle.json``."""

    format_version: Literal[1, 2] = 2
    """2 brought ``graphs`` and ``replay``. Bundles of 1 are served as they are."""
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
    graphs: dict[Role, GraphFile] = Field(default={WHOLE: MODEL_FILE}, min_length=1)
    """Role -> the ONNX file that plays it: ``model``, or ``vision`` and ``rest``."""
    feature_shape: tuple[int, int] | None = None
    """(M, F) of what ``vision`` gives and ``rest`` reads: moments, and statistics of each."""
    evidence_names: tuple[str, ...] = ()
    """Outputs of ``rest`` that say what each moment adds to a task's logits: ``evidence_<task>``."""
    weights: dict[str, WeightsUsed] = Field(default_factory=dict)
    """Encoder -> whose weights it started from."""
    replay: GoldenReplay | None = None
    """What must come of the golden clip and title."""
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
        needed = set(self.needed_files)
        if set(self.files) - set(_OPTIONAL_FILES) != needed:
            names = ", ".join(self.needed_files)
            raise ValueError(f"files must hold the digests of {names}; it may hold {', '.join(_OPTIONAL_FILES)}")
        self._check_format()
        return self

    def _check_format(self) -> None:
        if self.format_version == 1:
            if self.replay is not None or self.graphs != {WHOLE: MODEL_FILE}:
                raise ValueError("graphs and replay came with format_version 2")
            return
        if set(self.graphs) not in ({WHOLE}, {VISION, REST}):
            raise ValueError(f"graphs: {WHOLE} alone, or {VISION} and {REST}")
        if (VISION in self.graphs) != (self.feature_shape is not None):
            raise ValueError(f"feature_shape: goes with a graph {VISION}")
        if not set(self.evidence_names) <= {task.evidence_name for task in self.tasks} or (
            self.evidence_names and VISION not in self.graphs
        ):
            raise ValueError(f"evidence_names: evidence_<task> of tasks, from a graph {REST}")
        if self.replay is None:
            raise ValueError("replay: a bundle of format_version 2 holds a golden clip")
        if len(set(self.graphs.values())) != len(self.graphs):
            raise ValueError("graphs: one file cannot play two roles")
        if len(self.replay.frame_times_ms) != self.input_spec.frames:
            raise ValueError("replay: must tell of as many frames as the input spec")
        if not set(self.replay.texts) <= {field.name for field in self.input_spec.text_fields}:
            raise ValueError("replay: texts of fields that the input spec lacks")
        scored = {name: set(labels) for name, labels in self.replay.scores.items()}
        if scored != {task.name: set(task.labels) for task in self.tasks}:
            raise ValueError("replay: must hold a score of every label of every task")

    @property
    def needed_files(self) -> tuple[str, ...]:
        """What the bundle holds beside its manifest and what is optional."""
        return (*self.graphs.values(), *_PLAIN_FILES, *([] if self.format_version == 1 else [CLIP_FILE]))

    def written(self) -> str:
        """The document as a file; of format 1 without what that did not know, so that who wrote it reads it still."""
        unknown = (
            {"graphs", "replay", "feature_shape", "evidence_names", "weights"} if self.format_version == 1 else set()
        )
        return self.model_dump_json(indent=1, exclude=unknown) + "\n"

    @property
    def model_digest(self) -> str:
        """SHA-256, in hex, of the graph; of all of them by role, where there are several."""
        digests = {role: self.files[name] for role, name in self.graphs.items()}
        if set(digests) == {WHOLE}:
            return digests[WHOLE]
        return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
