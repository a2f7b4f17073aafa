"""The committed bundles, as ``make serve`` serves them: whole, small, replayable, and answering a real clip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest

from contract.bundle import Bundle, read_bundle
from tests.integration.service.conftest import Running, launch, wait_until_ready
from tests.synthetic_bundle import write_clip

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
NAMES = ("xvlm-baseline", "cpfd-student")
TASKS = {"violence", "restricted_object", "clickbait", "news_politics"}


@pytest.fixture(params=NAMES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return read_bundle(BUNDLES / request.param)


def test_model_is_small(bundle: Bundle) -> None:
    assert sum(len(bundle.graph(role)) for role in bundle.manifest.graphs) < 12_000_000


def test_both_together_are_small() -> None:
    assert sum(f.stat().st_size for name in NAMES for f in (BUNDLES / name).iterdir()) < 25_000_000


def test_golden_examples_replay(bundle: Bundle) -> None:
    session = onnxruntime.InferenceSession(bundle.graph(), providers=["CPUExecutionProvider"])
    found = session.run(list(bundle.manifest.output_names), bundle.golden.inputs)
    for task, logits in zip(bundle.manifest.tasks, found, strict=True):
        assert np.abs(logits - bundle.golden.logits[task.name]).max() <= bundle.manifest.golden_tolerance


def test_bundles_answer_the_same_tasks_from_the_same_input() -> None:
    baseline, student = (read_bundle(BUNDLES / name).manifest for name in NAMES)
    assert {t.name for t in baseline.tasks} == TASKS
    assert baseline.tasks == student.tasks
    assert baseline.input_spec == student.input_spec
    assert baseline.provenance.manifest_digest == student.provenance.manifest_digest
    assert baseline.provenance.config_digest == student.provenance.config_digest
    assert (baseline.provenance.method, student.provenance.method) == ("ce", "cpfd")
    assert baseline.provenance.teacher_digest is None
    assert student.provenance.teacher_digest is not None


def test_card_states_scores_and_limits(bundle: Bundle) -> None:
    card = (bundle.directory / "MODEL_CARD.md").read_text()
    for heading in ("What it was trained on", "What it scores on held-out rows", "What it is not good for"):
        assert f"## {heading}" in card
    for task, metrics in bundle.manifest.provenance.metrics.items():
        assert f"| {task} | F1 | {metrics['f1']:.3f} |" in card


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    log = tmp_path_factory.mktemp("default") / "log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CPFD_", "PORT", "HOST"))}
    running = wait_until_ready(launch(log, kept | {"PORT": "0"}), log)
    yield running
    assert running.stop() == 0


def test_a_clip_with_a_title_gets_a_verdict(service: Running, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4").read_bytes()
    arms = {}
    for video_id in map(str, range(24)):
        form = {"title": "a drone over the park", "video_id": video_id}
        replies = [
            httpx.post(f"{service.url}/classify", data=form, files={"video": ("c.mp4", clip)}, timeout=30) for _ in "ab"
        ]
        assert [r.status_code for r in replies] == [200, 200], replies[0].text
        one, two = (r.json() for r in replies)
        assert set(one["tasks"]) == TASKS
        assert one["modalities"] == ["video", "text"]
        assert one["arm"] == two["arm"] == replies[0].headers["x-arm"]
        assert one["tasks"] == two["tasks"]
        arms[one["arm"]] = one["bundle"]["name"]
    assert arms == {"baseline": "xvlm-baseline", "student": "cpfd-student"}
