"""A bundle says where it came from, verifies before it takes its place, and replaces a bundle or nothing."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from contract.bundle import MODEL_FILE, Bundle, file_digest, read_bundle
from contract.bundle_manifest import WHOLE
from contract.errors import BundleError
from contract.example import INPUT_NAMES
from contract.model_graphs import ModelGraphs
from model_export import write_bundle as module
from model_export.errors import ExportError, ParityError
from model_export.to_onnx import OPSET, ExportedGraphs
from model_export.write_bundle import GOLDEN_TOLERANCE, BundleRequest, write_bundle
from tests.unit.model_export.conftest import NOTES, POLICY, TASKS, Untrained


@pytest.fixture(autouse=True)
def _exported_before(monkeypatch: pytest.MonkeyPatch, untrained: Untrained) -> None:
    """Export and parity take seconds and have tests of their own: here one is a copy of a graph, the other a number."""

    def export(model: Any, card: Any, directory: Path) -> ExportedGraphs:
        shutil.copyfile(untrained.graph, directory / MODEL_FILE)
        return ExportedGraphs({WHOLE: MODEL_FILE})

    def parity(model: Any, graphs: ModelGraphs, tasks: Any, spec: Any, vocab_size: int) -> float:
        assert not model.training
        assert (graphs.tasks, tasks) == (TASKS, TASKS)
        assert (spec, vocab_size) == (untrained.card.config.input_spec, 18)
        return 2.5e-7

    monkeypatch.setattr(module, "export_graphs", export)
    monkeypatch.setattr(module, "measure_parity", parity)


def written(untrained: Untrained, destination: Path, **changed: Any) -> Bundle:
    fields: dict[str, Any] = {"name": "mine", "version": "1.2.3", "notes": NOTES} | changed
    return write_bundle(untrained.checkpoint, untrained.tokenizer, destination, BundleRequest(**fields))


def report_of(untrained: Untrained) -> dict[str, Any]:
    """Two trials, of which the checkpoint is the second; one metric of one task could not be measured."""
    card = untrained.card

    def metric(mean: float, second: float | None) -> dict[str, Any]:
        return {"mean": mean, "interval": [mean - 0.1, mean + 0.1], "trials": [0.25, second]}

    def methods(second: float | None) -> dict[str, Any]:
        others = {"roc_auc": metric(0.8, 0.9), "overkill": metric(0.2, None)}
        unmeasured = {name: metric(0.4, None) for name in ("miss_rate", "pr_auc")}
        return {"cpfd": {"f1": metric(0.5, second)} | others | unmeasured}

    tasks = {
        name: {"methods": methods(second), "comparisons": {}, "rows_tested": 9, "groups_tested": 3}
        for name, second in (("spam", 0.75), ("topics", None))
    }
    trials = [{"seed": card.seed, "test_fold": 0}, {"seed": card.seed, "test_fold": card.test_fold}]
    digests: dict[str, Any] = {"manifest": {"digest": card.manifest_digest}, "config_digest": card.config.digest()}
    return digests | {"trials": trials, "tasks": tasks, "methods": ["cpfd"]}


def test_a_bundle_names_its_checkpoint_and_what_it_was_made_from(untrained: Untrained, tmp_path: Path) -> None:
    card, manifest = untrained.card, written(untrained, tmp_path / "deep" / "bundle").manifest
    assert (manifest.name, manifest.version, manifest.architecture) == ("mine", "1.2.3", "xvlm-tiny")
    assert (manifest.tasks, manifest.policy, manifest.input_spec) == (TASKS, POLICY, card.config.input_spec)
    assert (manifest.opset, manifest.golden_tolerance) == (OPSET, GOLDEN_TOLERANCE)
    assert manifest.parity_max_abs_difference == 2.5e-7
    origin = manifest.provenance
    assert (origin.method, origin.seed, origin.manifest_digest) == ("cpfd", 3, "a" * 64)
    assert (origin.teacher_digest, origin.checkpoint_digest) == ("b" * 64, card.digest())
    assert origin.config_digest == card.config.digest()
    assert abs(datetime.date.fromisoformat(origin.created) - datetime.datetime.now(datetime.UTC).date()).days <= 1
    assert origin.metrics == {}


def test_golden_examples_are_what_the_exported_model_answers(untrained: Untrained, tmp_path: Path) -> None:
    bundle = written(untrained, tmp_path / "bundle")
    golden = bundle.golden
    assert golden.inputs["video_present"].tolist() == [True, True, False]
    assert golden.inputs["text_present"].tolist() == [True, False, True]
    assert tuple(golden.inputs) == INPUT_NAMES
    session = onnxruntime.InferenceSession(bundle.graph(WHOLE), providers=["CPUExecutionProvider"])
    for task, found in zip(TASKS, session.run(None, golden.inputs), strict=True):
        np.testing.assert_allclose(golden.logits[task.name], found, atol=1e-5)


def test_the_metrics_are_the_checkpoints_own_trial(untrained: Untrained, tmp_path: Path) -> None:
    bundle = written(untrained, tmp_path / "bundle", report=report_of(untrained))
    assert bundle.manifest.provenance.metrics == {
        "spam": {"f1": 0.75, "roc_auc": 0.9},
        "topics": {"roc_auc": 0.9},
    }
    card = (bundle.directory / "MODEL_CARD.md").read_text()
    assert card.startswith("# mine 1.2.3\n")
    assert "| spam | F1 | 0.750 | 0.500" in card
    assert "| topics | F1 | - | 0.500" in card


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report["manifest"].update(digest="c" * 64),
        lambda report: report.update(config_digest="c" * 64),
        lambda report: report["trials"].pop(),
    ],
)
def test_a_report_of_another_experiment_is_refused(untrained: Untrained, tmp_path: Path, change: Any) -> None:
    report = report_of(untrained)
    change(report)
    with pytest.raises(ExportError, match=r"seed 3, fold 1"):
        written(untrained, tmp_path / "bundle", report=report)
    assert not list(tmp_path.iterdir())


def test_another_tokenizer_is_refused(untrained: Untrained, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(untrained.tokenizer.read_text() + "\n")
    request = BundleRequest("mine", "1.2.3", NOTES)
    with pytest.raises(ExportError, match="not the tokenizer"):
        write_bundle(untrained.checkpoint, tmp_path / "tokenizer.json", tmp_path / "bundle", request)
    assert not (tmp_path / "bundle").exists()


def test_an_older_bundle_is_replaced(untrained: Untrained, tmp_path: Path) -> None:
    older = written(untrained, tmp_path / "bundle")
    newer = written(untrained, tmp_path / "bundle", version="2.0.0")
    assert read_bundle(tmp_path / "bundle").digest == newer.digest != older.digest
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_older_bundle_stays_where_the_new_one_is_not_the_checkpoints_model(
    untrained: Untrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = written(untrained, tmp_path / "bundle")

    def apart(*_: object) -> float:
        raise ParityError("apart")

    monkeypatch.setattr(module, "measure_parity", apart)
    with pytest.raises(ParityError):
        written(untrained, tmp_path / "bundle", version="2.0.0")
    assert read_bundle(tmp_path / "bundle").digest == older.digest
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_bundle_that_does_not_verify_never_takes_its_place(
    untrained: Untrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = written(untrained, tmp_path / "bundle")
    monkeypatch.setattr(module, "file_digest", lambda path: "0" * 64 if path.name == MODEL_FILE else file_digest(path))
    with pytest.raises(BundleError, match=MODEL_FILE):
        written(untrained, tmp_path / "bundle", version="2.0.0")
    assert read_bundle(tmp_path / "bundle").digest == older.digest
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_nothing_but_a_bundle_is_ever_replaced(untrained: Untrained, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("keep")
    with pytest.raises(ExportError, match="not a folder"):
        written(untrained, tmp_path / "file")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep")
    with pytest.raises(ExportError, match=r"thesis\.txt"):
        written(untrained, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "keep"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine"]
