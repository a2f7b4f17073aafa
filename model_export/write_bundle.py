"""Checkpoint -> bundle directory, written beside its place and moved there only when it verifies."""

from __future__ import annotations

import datetime
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from contract.bundle import (
    CLIP_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_CARD_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    TOKENIZER_FILE,
    Bundle,
    BundleManifest,
    Provenance,
    file_digest,
    read_bundle,
    read_manifest,
    write_golden,
)
from contract.bundle_manifest import REST_FILE, VISION_FILE, WeightsUsed
from contract.decision import DecisionPolicy
from contract.errors import BundleError, GoldenMismatch
from contract.example import INPUT_NAMES, collate
from contract.proof import explained, prove_inputs_here, prove_scores
from contract.reference import ScoreReference
from contract.replay import GoldenReplay
from contract.text import TextTokenizer
from contract.video import DecodeLimits
from model_export.errors import ExportError
from model_export.golden import golden_inputs, record_golden, record_replay
from model_export.model_card import CardNotes, render_card
from model_export.parity import measure_parity
from model_export.served_tasks import unserved_tasks, with_unserved
from model_export.sessions import graphs_of, open_written
from model_export.to_onnx import OPSET, ExportedGraphs, export_graphs
from training.config import field_faults
from training.evaluation.shipping import MAX_OVERKILL, at_thresholds, has_final
from training.experiment.plan import FINAL_FOLDER, Trial
from training.fitting.checkpoint import CheckpointCard, read_checkpoint, read_policy
from training.fitting.fit import PRETRAINED_FILE

_LOG = logging.getLogger(__name__)
GOLDEN_TOLERANCE = 5e-3
"""Of replayed fp32 logits on any execution provider. fp16 or TF32 kernels differ by about 1e-3."""


_FILES = (TOKENIZER_FILE, GOLDEN_FILE, CLIP_FILE, MODEL_CARD_FILE)


@dataclass(frozen=True)
class BundleRequest:
    """Name, version and model-card notes of a bundle."""

    name: str
    version: str
    notes: CardNotes
    report: Mapping[str, Any] | None = None
    """The experiment's report.json: without one nothing tells which tasks are good enough, and all are served."""
    max_overkill: float = MAX_OVERKILL
    """The share of held-out negatives beyond which a task that flags them is not served."""
    serve_useless: bool = False
    """Whether tasks that are not good enough are served all the same: for toy data, never for traffic."""
    all_tasks: bool = False
    """Whether a bundle that would leave a task unserved is refused."""


@dataclass(frozen=True)
class _Measured:
    """What the export found out: the largest difference to torch, the trial's place, what came of the golden clip."""

    parity: float
    trial: int | None
    replay: GoldenReplay | None
    graphs: ExportedGraphs
    policy: DecisionPolicy
    weights: dict[str, WeightsUsed]


def write_bundle(checkpoint: Path, tokenizer: Path, destination: Path, request: BundleRequest) -> Bundle:
    """Exports, verifies and writes a bundle; what stood at ``destination`` is replaced only on success.

    Args:
        checkpoint: a student's or baseline's folder.
        tokenizer: the ``tokenizer.json`` of its run.
        destination: the bundle's folder.
        request: name, version and notes.

    Raises:
        ExportError: see ``model_export.errors``.
        CheckpointError: the checkpoint cannot be read.
    """
    _check_names(request)
    _check_destination(destination)
    if not tokenizer.is_file():
        raise ExportError(f"{tokenizer}: there is no such file: the checkpoint's run wrote a tokenizer.json")
    model, card = read_checkpoint(checkpoint)
    if file_digest(tokenizer) != card.tokenizer_digest:
        raise ExportError(f"{tokenizer}: not the tokenizer that the checkpoint was trained with")
    trial = trial_index(card, request.report)
    policy = read_policy(checkpoint)
    if request.report is not None:
        _require_same_thresholds(card, policy, request.report)
        policy = _served(card, policy, request)
    used = weights_used(card, checkpoint)
    words = render_card(request.name, request.version, card, request.notes, request.report, trial, policy, used)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".bundle-") as name:
        work = Path(name) / "bundle"
        work.mkdir()
        exported = export_graphs(model, card, work)
        shutil.copyfile(tokenizer, work / TOKENIZER_FILE)
        spec = card.config.input_spec
        text = TextTokenizer(work / TOKENIZER_FILE, spec)
        graphs = open_written(card, exported, work)
        parity = measure_parity(model, graphs, card.tasks, spec, text.vocab_size)
        recorded = record_replay(graphs, spec, text, card.tasks, policy)
        (work / CLIP_FILE).write_bytes(recorded.clip)
        golden = record_golden(graphs, golden_inputs(spec, text), card.tasks)
        write_golden(work / GOLDEN_FILE, golden, recorded.pixels)
        (work / MODEL_CARD_FILE).write_text(words)
        measured = _Measured(parity, trial, recorded.replay, exported, policy, used)
        (work / MANIFEST_FILE).write_text(_manifest(work, card, request, measured).written())
        prove_bundle(read_bundle(work))
        if destination.exists():
            destination.rename(Path(name) / "replaced")
        work.rename(destination)
    return read_bundle(destination)


def prove_bundle(bundle: Bundle) -> None:
    """Replays the golden clip and title from their bytes, through the graph as it was written.

    Raises:
        ExportError: they come out otherwise than was recorded a moment ago, or the bundle has several graphs.
        BundleError: the bundle holds no golden clip.
    """
    manifest = bundle.manifest
    try:
        inputs, _ = prove_inputs_here(bundle, DecodeLimits())
        values = graphs_of(bundle).run(collate([inputs], bundle.tokenizer.pad_id))
        prove_scores(bundle, {task.name: values[task.name][0] for task in manifest.tasks})
    except GoldenMismatch as error:
        raise ExportError(explained(bundle, error)) from error


def add_reference(directory: Path, reference: ScoreReference) -> Bundle:
    """Writes ``reference.json`` into a bundle, in the place of one that is there; the bundle gets another digest.

    Args:
        directory: of a bundle; replaced only if the result verifies.
        reference: of this bundle's model and policy.

    Raises:
        BundleError: it is of another model or policy, or the bundle is broken.
    """
    manifest = read_bundle(directory).manifest
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".bundle-") as name:
        work = Path(name) / "bundle"
        shutil.copytree(directory, work)
        (work / REFERENCE_FILE).write_text(reference.model_dump_json(indent=1) + "\n")
        files = manifest.files | {REFERENCE_FILE: file_digest(work / REFERENCE_FILE)}
        changed = manifest.model_copy(update={"files": files})
        (work / MANIFEST_FILE).write_text(changed.written())
        read_bundle(work)
        directory.rename(Path(name) / "replaced")
        work.rename(directory)
    return read_bundle(directory)


def _check_names(request: BundleRequest) -> None:
    """Raises ExportError where the bundle's manifest would refuse the name or the version, which it sees last."""
    try:
        BundleManifest.model_validate({"name": request.name, "version": request.version})
    except ValidationError as error:
        wrong = [f"{field}: {message}" for field, message in field_faults(error) if field in ("name", "version")]
        if wrong:
            raise ExportError("; ".join(wrong)) from None


def _check_destination(destination: Path) -> None:
    """Raises ExportError where something other than a bundle would be replaced."""
    if not destination.exists():
        return
    if not destination.is_dir():
        raise ExportError(f"{destination}: exists and is not a folder")
    strangers = sorted({entry.name for entry in destination.iterdir()} - _files_of(destination))
    if strangers:
        raise ExportError(f"{destination}: holds {strangers[0]}, which is no part of a bundle: choose another folder")


def _files_of(directory: Path) -> set[str]:
    """What belongs to the bundle that lies there; a bundle that cannot be read any more has what all have."""
    try:
        return {MANIFEST_FILE, *read_manifest(directory)[0].files}
    except BundleError:
        return {MANIFEST_FILE, MODEL_FILE, VISION_FILE, REST_FILE, *_FILES, REFERENCE_FILE}


def _manifest(work: Path, card: CheckpointCard, request: BundleRequest, measured: _Measured) -> BundleManifest:
    metrics: dict[str, dict[str, float]] = {}
    if request.report is not None:
        for task in card.tasks:
            by_metric = at_thresholds(request.report["tasks"][task.name], card.method, final=measured.trial is None)
            own = {
                metric: values["mean"] if measured.trial is None else values["trials"][measured.trial]
                for metric, values in by_metric.items()
            }
            metrics[task.name] = {metric: value for metric, value in own.items() if value is not None}
    return BundleManifest(
        name=request.name,
        version=request.version,
        architecture=card.config.model.name,
        tasks=card.tasks,
        input_spec=card.config.input_spec,
        policy=measured.policy,
        graphs=measured.graphs.files,
        feature_shape=measured.graphs.feature_shape,
        evidence_names=measured.graphs.evidence,
        weights=measured.weights,
        opset=OPSET,
        input_names=INPUT_NAMES,
        output_names=tuple(task.output_name for task in card.tasks),
        parity_max_abs_difference=measured.parity,
        golden_tolerance=GOLDEN_TOLERANCE,
        replay=measured.replay,
        files={file: file_digest(work / file) for file in (*measured.graphs.files.values(), *_FILES)},
        provenance=Provenance(
            method=card.method,
            manifest_digest=card.manifest_digest,
            config_digest=card.config.digest(),
            checkpoint_digest=card.digest(),
            teacher_digest=card.teacher_digest,
            seed=card.seed,
            created=datetime.datetime.now(datetime.UTC).date().isoformat(),
            metrics=metrics,
            test_fold=card.test_fold,
            every_fold_seen=card.test_fold is None,
        ),
    )


def _served(card: CheckpointCard, policy: DecisionPolicy, request: BundleRequest) -> DecisionPolicy:
    """The policy, tasks that the report finds useless being answered as unsupported.

    Raises:
        ExportError: no task is left, or the request refuses bundles that leave one out.
    """
    assert request.report is not None
    useless = unserved_tasks(card, request.report, request.max_overkill, final=is_final(card, request.report))
    if request.serve_useless:
        for name, reason in useless.items():
            _LOG.warning("task %s is served all the same, as was asked for: %s", name, reason)
        return policy
    for name, reason in useless.items():
        _LOG.warning("task %s is not served: %s", name, reason)
    listed = "; ".join(f"{name}: {reason}" for name, reason in useless.items())
    if useless and (request.all_tasks or len(useless) == len(card.tasks)):
        raise ExportError(f"not good enough to be served: {listed}")
    return with_unserved(policy, useless)


def _require_same_thresholds(card: CheckpointCard, policy: DecisionPolicy, report: Mapping[str, Any]) -> None:
    """Raises ExportError where the report's misses and false alarms are of other thresholds than the checkpoint's."""
    home = FINAL_FOLDER if is_final(card, report) else Trial(seed=card.seed, test_fold=card.test_fold).name
    judged = report.get("policies", {}).get(f"{home}/{card.method}", card.policy.digest())
    if judged != policy.digest():
        raise ExportError("the report is of other thresholds: write it anew with `python -m training report`")


def is_final(card: CheckpointCard, report: Mapping[str, Any]) -> bool:
    """Whether the checkpoint was trained on every fold of an experiment whose trials each left one out."""
    return card.test_fold is None and all(trial["test_fold"] is not None for trial in report["trials"])


def weights_used(card: CheckpointCard, checkpoint: Path) -> dict[str, WeightsUsed]:
    """Encoder -> whose weights the checkpoint started from, with licence and digest."""
    given = card.config.pretrained
    if given is None:
        return {}
    record = checkpoint / PRETRAINED_FILE
    digests = json.loads(record.read_text())["sha256"] if record.exists() else {}
    encoders = {name: one for name, one in (("vision", given.vision), ("text", given.text)) if one is not None}
    return {
        name: WeightsUsed(source=one.source, licence=one.licence, sha256=digests.get(name))
        for name, one in encoders.items()
    }


def trial_index(card: CheckpointCard, report: Mapping[str, Any] | None) -> int | None:
    """The checkpoint's place among the report's trials; None of a final one, which is of none, and without a report.

    Raises:
        ExportError: the report is of another experiment.
    """
    if report is None:
        return None
    known = (report["manifest"]["digest"], report["config_digest"])
    trial = {"seed": card.seed, "test_fold": card.test_fold}
    if known == (card.manifest_digest, card.config.digest()) and is_final(card, report):
        if not all(has_final(task, card.method) for task in report["tasks"].values()):
            raise ExportError(
                "the report is older than the final student: write it anew with `python -m training report`"
            )
        return None
    if known != (card.manifest_digest, card.config.digest()) or trial not in report["trials"]:
        fold = "" if card.test_fold is None else f", fold {card.test_fold}"
        raise ExportError(
            f"the report is of another manifest, configuration or seed than the checkpoint (seed {card.seed}{fold}): "
            "write it anew with `python -m training report` from the run that the checkpoint is of"
        )
    return int(report["trials"].index(trial))
