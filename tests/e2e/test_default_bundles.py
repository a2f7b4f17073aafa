"""The committed bundles, as ``make serve`` serves them: whole, small, replayable, and answering a real clip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from contract.bundle import Bundle, read_bundle
from contract.example import ModelInputs
from contract.model_graphs import FEATURES
from model_export.sessions import graphs_of
from service.settings import LaneSettings
from service.stages.inference import ArmModel
from tests.integration.service.conftest import Running, launch, wait_until_ready
from tests.synthetic_bundle import write_clip

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
NAMES = ("xvlm-baseline", "cpfd-student")
SPEC = read_bundle(BUNDLES / NAMES[0]).manifest.input_spec
TASKS = {"violence", "restricted_object", "clickbait", "news_politics"}


@pytest.fixture(params=NAMES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return read_bundle(BUNDLES / request.param)


def test_model_is_small(bundle: Bundle) -> None:
    assert sum(len(bundle.graph(role)) for role in bundle.manifest.graphs) < 40_000_000


def test_both_together_are_small() -> None:
    assert sum(f.stat().st_size for name in NAMES for f in (BUNDLES / name).iterdir()) < 80_000_000


def test_golden_examples_replay(bundle: Bundle) -> None:
    found = graphs_of(bundle).run(bundle.golden.inputs)
    for task in bundle.manifest.tasks:
        gap = np.abs(found[task.name] - bundle.golden.logits[task.name]).max()
        assert gap <= bundle.manifest.golden_tolerance


def test_both_arms_share_one_vision_tower() -> None:
    first, second = (read_bundle(BUNDLES / name).manifest for name in NAMES)
    assert first.files[first.graphs["vision"]] == second.files[second.graphs["vision"]]


def test_a_shadow_reads_what_that_tower_gave_for_the_answer() -> None:
    first, second = (ArmModel(read_bundle(BUNDLES / name), LaneSettings()) for name in NAMES)
    assert first.vision_digest == second.vision_digest is not None
    pixels = np.random.default_rng(0).integers(0, 256, SPEC.frames_shape, np.uint8)
    inputs = ModelInputs(pixels, (), read_bundle(BUNDLES / NAMES[0]).tokenizer.encode({}), video_present=True)
    first.keep_features()
    features = first.infer([inputs])[FEATURES][0]
    expected = second.infer([inputs])
    found = second.infer_giving_way(inputs, lambda: False, features)
    assert all((found[name] == rows[0]).all() for name, rows in expected.items())
    other = second.infer_giving_way(inputs, lambda: False, features + 1)
    assert any((other[name] != rows[0]).any() for name, rows in expected.items())


def test_weights_of_others_are_named_with_their_licence(bundle: Bundle) -> None:
    assert {name: used.licence for name, used in bundle.manifest.weights.items()} == {
        "vision": "Apache-2.0",
        "text": "Apache-2.0",
    }
    assert all(used.sha256 for used in bundle.manifest.weights.values())


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
        assert f"| {task} | F1 | {metrics['f1']:.3f} [" in card


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
