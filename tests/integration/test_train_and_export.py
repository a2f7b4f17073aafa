"""Synthetic manifest -> experiment -> report -> bundle: the offline half of the road, small but whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest
import torch

from contract.bundle import read_bundle
from contract.decision import Modality, decide
from contract.errors import BundleError
from contract.example import RawExample, collate, read_example
from contract.proof import prove_inputs_here, prove_scores
from contract.video import DecodeLimits
from model_export.errors import ExportError, ForbiddenInputError
from model_export.model_card import CardNotes, TaskNotes
from model_export.write_bundle import BundleRequest, write_bundle
from tests.integration.service.conftest import environment, launch, wait_until_ready
from training.config import RunConfig
from training.data.manifest import Manifest
from training.data.manifest_io import read_manifest
from training.data.synthetic import generate
from training.experiment.plan import ExperimentPlan, Workplace, plan_trials
from training.experiment.run import run
from training.fitting.checkpoint import CheckpointError, read_card, read_checkpoint
from training.report.build import build_report
from training.report.markdown import render

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Finished:
    manifest: Manifest
    out: Path
    plan: ExperimentPlan
    place: Workplace


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_config: RunConfig) -> Finished:
    home = tmp_path_factory.mktemp("experiment")
    generate(home / "data", clips=32, titles=64, seed=1)
    manifest = read_manifest(home / "data")
    plan = ExperimentPlan(trials=plan_trials(manifest, 2), config=tiny_config, manifest_digest=manifest.digest())
    place = Workplace(home / "runs", home / "cache", vocabulary=None)
    run(manifest, plan, place)
    return Finished(manifest, home / "runs", plan, place)


@pytest.fixture(scope="module")
def exported(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundles ``baseline`` (without a report) and ``student`` (with one) of the first trial."""
    folder = tmp_path_factory.mktemp("exported")
    home, tokenizer = finished.out / finished.plan.trials[0].name, finished.out / "tokenizer.json"
    report = build_report(finished.out, finished.manifest, replicates=50)
    words = notes(finished.manifest)
    write_bundle(home / "ce", tokenizer, folder / "baseline", BundleRequest("tiny-baseline", "0.1.0", words))
    # Two epochs on toy data teach nothing, and the export would rightly leave every task out.
    request = BundleRequest("tiny-student", "0.1.0", words, report, serve_useless=True)
    write_bundle(home / "cpfd", tokenizer, folder / "student", request)
    return folder


def notes(manifest: Manifest) -> CardNotes:
    words = TaskNotes(asks="Is it so?", data="Generated clips.", limits="Nothing real.")
    return CardNotes(intended_use="Tests.", not_for=("anything",), tasks={task.name: words for task in manifest.tasks})


def test_every_artefact_names_the_one_before(finished: Finished) -> None:
    for trial in finished.plan.trials:
        home = finished.out / trial.name
        teacher, student, baseline = (read_card(home / name) for name in ("teacher", "cpfd", "ce"))
        assert {c.manifest_digest for c in (teacher, student, baseline)} == {finished.manifest.digest()}
        assert student.teacher_digest == teacher.digest()
        assert baseline.teacher_digest is None
        assert teacher.privileged is not None
        assert student.privileged is None
        assert len(student.losses) == finished.plan.config.optimiser.epochs


def test_methods_of_a_trial_differ_only_in_the_loss(finished: Finished) -> None:
    """Same seed, same rows: the first weights are the same, so what differs afterwards is the method's doing."""
    home = finished.out / finished.plan.trials[0].name
    cards = [read_card(home / name) for name in ("ce", "pfd", "cpfd")]
    assert len({c.train_rows for c in cards}) == 1
    assert len({c.weights_digest for c in cards}) == 3
    assert len({c.config.digest() for c in cards}) == 1


def test_a_finished_experiment_is_not_run_again(finished: Finished) -> None:
    files = sorted(p for p in finished.out.rglob("*") if p.is_file() and p.name != "experiment.json")
    before = [(p, p.stat().st_mtime_ns) for p in files]
    run(finished.manifest, finished.plan, finished.place)
    assert [(p, p.stat().st_mtime_ns) for p in files] == before


def test_another_experiment_in_the_same_folder_is_refused(finished: Finished, tiny_config: RunConfig) -> None:
    other = tiny_config.model_copy(update={"distillation": tiny_config.distillation.model_copy(update={"lam": 0.9})})
    with pytest.raises(ValueError, match="another experiment"):
        run(finished.manifest, finished.plan.model_copy(update={"config": other}), finished.place)


def test_report_holds_every_method_and_control(finished: Finished) -> None:
    report = build_report(finished.out, finished.manifest, replicates=50)
    json.dumps(report, allow_nan=False)
    shape = report["tasks"]["shape"]
    assert set(shape["methods"]) == {"teacher", "ce", "pfd", "cpfd", "container_only", "background_only"}
    for summary in shape["methods"].values():
        low, high = summary["f1"]["interval"]
        assert 0 <= low <= high <= 1
        assert len(summary["f1"]["trials"]) == 2
    assert "container_only" not in report["tasks"]["topics"]["methods"]
    text = render(report)
    assert "### topics" in text
    assert "CPFD student" in text


def test_bundle_answers_as_the_checkpoint_does(finished: Finished, exported: Path) -> None:
    home = finished.out / finished.plan.trials[0].name / "cpfd"
    report = build_report(finished.out, finished.manifest, replicates=50)
    bundle = read_bundle(exported / "student")
    assert bundle.manifest.parity_max_abs_difference < 1e-4
    assert bundle.manifest.provenance.teacher_digest == read_card(home).teacher_digest
    own = report["tasks"]["shape"]["methods"]["cpfd"]["f1"]["trials"][0]
    assert bundle.manifest.provenance.metrics["shape"]["f1"] == own

    model, card = read_checkpoint(home)
    spec = bundle.manifest.input_spec
    rows = [row for row in finished.manifest.rows if row.video][:3]
    raw = [RawExample(finished.manifest.video_path(row), dict(row.texts)) for row in rows]
    examples = [read_example(one, spec, bundle.tokenizer, DecodeLimits()) for one in raw]
    arrays = collate(examples, bundle.tokenizer.pad_id)
    with torch.no_grad():
        expected = model(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    session = onnxruntime.InferenceSession(bundle.graph(), providers=["CPUExecutionProvider"])
    for task, found in zip(card.tasks, session.run(list(bundle.manifest.output_names), arrays), strict=True):
        assert np.abs(found - expected[task.name].numpy()).max() < 1e-4

    inputs, gap = prove_inputs_here(bundle, DecodeLimits())
    assert gap == 0.0
    logits = session.run(list(bundle.manifest.output_names), collate([inputs], bundle.tokenizer.pad_id))
    assert prove_scores(bundle, {task.name: value[0] for task, value in zip(card.tasks, logits, strict=True)}) < 1e-6

    card_text = (bundle.directory / "MODEL_CARD.md").read_text()
    assert "What it is not good for" in card_text
    assert "tiny-student 0.1.0" in card_text


def test_a_model_file_tells_nothing_of_the_machine_it_was_made_on(exported: Path) -> None:
    raw = (exported / "student" / "model.onnx").read_bytes()
    for trace in (str(Path(__file__).parents[2]), "site-packages", 'File "'):
        assert trace.encode() not in raw


def test_a_teacher_is_not_exported(finished: Finished, tmp_path: Path) -> None:
    home = finished.out / finished.plan.trials[0].name / "teacher"
    with pytest.raises(ForbiddenInputError, match="privileged"):
        write_bundle(
            home,
            finished.out / "tokenizer.json",
            tmp_path / "bundle",
            BundleRequest("t", "0.1.0", notes(finished.manifest)),
        )
    assert not (tmp_path / "bundle").exists()


def test_another_tokenizer_is_refused(finished: Finished, tmp_path: Path) -> None:
    altered = tmp_path / "tokenizer.json"
    altered.write_text((finished.out / "tokenizer.json").read_text() + "\n")
    home = finished.out / finished.plan.trials[0].name / "ce"
    with pytest.raises(ExportError, match="not the tokenizer"):
        write_bundle(home, altered, tmp_path / "bundle", BundleRequest("t", "0.1.0", notes(finished.manifest)))


def test_altered_weights_are_refused(finished: Finished, tmp_path: Path) -> None:
    source = finished.out / finished.plan.trials[0].name / "ce"
    for name in ("checkpoint.json", "weights.pt"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    with (tmp_path / "weights.pt").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match=r"weights\.pt"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "name", ["model.onnx", "tokenizer.json", "golden.npz", "golden.mp4", "MODEL_CARD.md", "bundle.json"]
)
def test_a_tampered_bundle_is_refused_by_name(exported: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(exported / "baseline", tmp_path / "b")
    path = tmp_path / "b" / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0x80
    path.write_bytes(bytes(raw))
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        read_bundle(tmp_path / "b")


def test_what_was_trained_is_served(finished: Finished, exported: Path, tmp_path: Path) -> None:
    """The whole road: the exported arm answers a clip of the manifest with the scores its checkpoint gives it."""
    home = finished.out / finished.plan.trials[0].name
    row = next(r for r in finished.manifest.rows if r.video and r.texts)
    path = finished.manifest.video_path(row)
    assert path is not None
    running = wait_until_ready(launch(tmp_path / "log", environment(exported)), tmp_path / "log")
    try:
        form = {"title": row.texts["title"], "video_id": "v1"}
        reply = httpx.post(f"{running.url}/classify", data=form, files={"video": path.read_bytes()}, timeout=30)
    finally:
        assert running.stop() == 0
    assert reply.status_code == 200, reply.text
    verdict = reply.json()
    model, card = read_checkpoint(home / {"baseline": "ce", "student": "cpfd"}[verdict["arm"]])
    bundle = read_bundle(exported / verdict["arm"])
    example = read_example(RawExample(path, dict(row.texts)), card.config.input_spec, bundle.tokenizer, DecodeLimits())
    arrays = collate([example], bundle.tokenizer.pad_id)
    with torch.no_grad():
        logits = model(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    numbers = {name: value[0].numpy() for name, value in logits.items()}
    expected = decide(numbers, card.tasks, card.policy, frozenset(Modality))
    assert set(verdict["tasks"]) == set(expected)
    for name, decision in expected.items():
        assert verdict["tasks"][name]["scores"] == pytest.approx(decision.scores, abs=1e-4)
        assert verdict["tasks"][name]["threshold"] == pytest.approx(decision.threshold)


def test_what_a_method_trained_that_is_no_more_is_not_overwritten(finished: Finished, tmp_path: Path) -> None:
    recorded = finished.plan.model_dump(mode="json") | {"methods": ["ce", "of_yesterday"]}
    (tmp_path / "experiment.json").write_text(json.dumps(recorded))
    weights = tmp_path / finished.plan.trials[0].name / "of_yesterday" / "weights.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"dear")
    with pytest.raises(ValueError, match=r"does not read \(methods: .*no method 'of_yesterday'.*choose another folder"):
        run(finished.manifest, finished.plan, Workplace(tmp_path, finished.place.cache, vocabulary=None))
    assert weights.read_bytes() == b"dear"


def test_a_first_try_that_trained_nothing_does_not_bar_the_folder(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "experiment.json").write_text('{"trials": []}')
    one = finished.plan.model_copy(update={"trials": finished.plan.trials[:1], "methods": ("ce",)})
    run(finished.manifest, one, Workplace(tmp_path, finished.place.cache, vocabulary=None))
    assert (tmp_path / one.trials[0].name / "ce" / "checkpoint.json").exists()
