"""Inference: batch equals single in every bucket, golden replay, and the refusals at start."""

from __future__ import annotations

import dataclasses
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest

from contract.bundle import Bundle, Golden, read_bundle
from contract.example import ModelInputs, assemble
from contract.model_graphs import FEATURES, MOMENTS
from contract.video import Frames, VideoProbe
from service.errors import StartError
from service.settings import LaneSettings
from service.stages.inference import ArmModel, refuse_double_runtime
from tests.synthetic_bundle import SPEC, rewrite_manifest, write_synthetic_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return read_bundle(write_synthetic_bundle(tmp_path_factory.mktemp("inference") / "bundle"))


def examples(bundle: Bundle, count: int) -> list[ModelInputs]:
    rng = np.random.default_rng(3)
    probe = VideoProbe("mp4", "h264", 64, 48, (), 1.0, 4, indexed=False)
    made = []
    for i in range(count):
        frames = Frames(rng.integers(0, 256, SPEC.frames_shape, np.uint8), (0.0,) * 4, probe) if i % 3 else None
        text = bundle.tokenizer.encode({"title": "a fight in the park " * (i % 4 + (frames is None))})
        made.append(assemble(frames, text, SPEC))
    return made


def test_every_batch_equals_its_singles(bundle: Bundle) -> None:
    model = ArmModel(bundle, LaneSettings(buckets=(1, 2, 4, 8)))
    clips = examples(bundle, 8)
    singles = [model.infer([clip]) for clip in clips]
    for size in (2, 3, 5, 8):
        batch = model.infer(clips[:size])
        for task, logits in batch.items():
            assert len(logits) == size
            for row in range(size):
                np.testing.assert_allclose(logits[row], singles[row][task][0], atol=1e-5)
    with pytest.raises(ValueError, match="do not fit"):
        model.infer([*clips, clips[0]])


def test_the_answer_depends_on_the_clip_and_on_the_text(bundle: Bundle) -> None:
    model = ArmModel(bundle, LaneSettings())
    answers = [model.infer([clip])["clickbait"][0, 0] for clip in examples(bundle, 6)]
    assert len({round(float(a), 4) for a in answers}) == 6


def test_golden_examples_are_replayed_in_every_bucket(bundle: Bundle) -> None:
    model = ArmModel(bundle, LaneSettings(buckets=(1, 2, 4)))
    assert model.prove() < 1e-5
    assert set(model.seconds) == {1, 2, 4}
    model._pad_to = SPEC.max_text_tokens
    assert model.prove() < 1e-5


@pytest.mark.parametrize("shift", [0.01, float("nan")])
def test_a_model_that_answers_otherwise_than_recorded_is_refused(bundle: Bundle, shift: float) -> None:
    logits = {task: values + np.float32(shift) for task, values in bundle.golden.logits.items()}
    altered = dataclasses.replace(bundle, golden=Golden(bundle.golden.inputs, logits))
    with pytest.raises(StartError, match="golden"):
        ArmModel(altered, LaneSettings()).prove()


def test_a_model_may_be_off_by_the_tolerance_and_no_more(bundle: Bundle) -> None:
    logits = {task: values + np.float32(0.01) for task, values in bundle.golden.logits.items()}
    off = dataclasses.replace(bundle, golden=Golden(bundle.golden.inputs, logits))

    def proved(tolerance: float) -> float:
        manifest = bundle.manifest.model_copy(update={"golden_tolerance": tolerance})
        return ArmModel(dataclasses.replace(off, manifest=manifest), LaneSettings(buckets=(1,))).prove()

    worst = proved(1.0)
    assert worst == pytest.approx(0.01, abs=1e-5)
    assert proved(worst) == worst
    with pytest.raises(StartError, match="golden"):
        proved(0.999 * worst)


def test_a_model_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    directory = write_synthetic_bundle(tmp_path / "bundle")
    model = onnx.load(directory / "model.onnx")
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, directory / "model.onnx")
    rewrite_manifest(directory, lambda manifest: None)
    with pytest.raises(StartError, match=r"model\.onnx: onnxruntime cannot load it"):
        ArmModel(read_bundle(directory), LaneSettings())


def test_the_model_that_is_loaded_is_the_one_that_was_verified(tmp_path: Path) -> None:
    directory = write_synthetic_bundle(tmp_path / "bundle")
    bundle = read_bundle(directory)
    other = write_synthetic_bundle(tmp_path / "other", seed=1)
    (directory / "model.onnx").write_bytes((other / "model.onnx").read_bytes())
    with pytest.raises(StartError, match=r"model\.onnx: its SHA-256"):
        ArmModel(bundle, LaneSettings())


def test_a_graph_that_is_missing_from_the_bundle_is_named(bundle: Bundle) -> None:
    files = bundle.manifest.files | {"vision.onnx": "0" * 64, "rest.onnx": "0" * 64}
    graphs = {"vision": "vision.onnx", "rest": "rest.onnx"}
    parts = bundle.manifest.model_copy(update={"graphs": graphs, "files": files})
    with pytest.raises(StartError, match=r"vision\.onnx"):
        ArmModel(dataclasses.replace(bundle, manifest=parts), LaneSettings())


def test_cuda_asked_for_but_not_given_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    class OnCpu:
        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: OnCpu())
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda: None, raising=False)
    with pytest.raises(StartError, match="serve-gpu"):
        ArmModel(bundle, LaneSettings(provider="cuda"))


class OnGpu:
    """A session that says it runs on CUDA, and notes what it is fed; the CPU does the work."""

    made: ClassVar[list[OnGpu]] = []

    def __init__(self, graph: bytes, options: Any, providers: list[Any]) -> None:
        self.providers, self.fed = providers, list[dict[str, Any]]()
        self._cpu = SESSION(graph, options, providers=["CPUExecutionProvider"])
        self.made.append(self)

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_inputs(self) -> Any:
        return self._cpu.get_inputs()

    def run(self, names: Any, feeds: dict[str, Any]) -> Any:
        self.fed.append(feeds)
        return self._cpu.run(names, feeds)


SESSION = onnxruntime.InferenceSession
DEFAULT_BUNDLE = Path(__file__).resolve().parents[4] / "bundles" / "cpfd-student"


@pytest.fixture
def gpu(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> tuple[ArmModel, list[OnGpu]]:
    OnGpu.made.clear()
    monkeypatch.setattr("onnxruntime.InferenceSession", OnGpu)
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda: None, raising=False)
    model = ArmModel(bundle, LaneSettings(provider="cuda", buckets=(1, 4)))
    return model, OnGpu.made


def test_on_a_gpu_every_shape_is_one_that_was_warmed(bundle: Bundle, gpu: tuple[ArmModel, list[OnGpu]]) -> None:
    """Texts at one length, rows to the bucket, and the tower over every row and all moments at once."""
    model, sessions = gpu
    assert model.provider == "CUDAExecutionProvider"
    for session in sessions:
        assert [p if isinstance(p, str) else p[0] for p in session.providers] == [
            "CUDAExecutionProvider",
            "CPUExecutionProvider",
        ]
    assert {(graphs.every_row, graphs.moments_at_once) for graphs in model._graphs.values()} == {(True, 0)}
    assert model.prove() < 1e-4
    warmed = {feeds["input_ids"].shape for session in sessions for feeds in session.fed}
    assert warmed == {(bucket, SPEC.max_text_tokens) for bucket in (1, 4)}
    model.infer(examples(bundle, 3))
    assert {feeds["input_ids"].shape for session in sessions for feeds in session.fed} == warmed


def test_on_a_gpu_no_session_of_the_tower_ever_sees_a_second_shape(
    bundle: Bundle, gpu: tuple[ArmModel, list[OnGpu]]
) -> None:
    """A change of shape makes it plan its convolutions anew."""
    model, sessions = gpu
    model.prove()
    for size in (1, 4, 1, 3):
        model.infer(examples(bundle, size))
    assert [{len(feeds["frames"]) for feeds in session.fed} for session in sessions] == [{1}, {4}]


@pytest.fixture
def served_on_gpu(gpu: object) -> ArmModel:
    """A committed bundle, whose tower is a graph of its own."""
    OnGpu.made.clear()
    return ArmModel(read_bundle(DEFAULT_BUNDLE), LaneSettings(provider="cuda", buckets=(1, 2)))


def test_on_a_gpu_a_tower_for_each_size_and_one_rest(served_on_gpu: ArmModel) -> None:
    tower, rest, larger = OnGpu.made
    served_on_gpu.prove()
    moments = len(tower.fed[0][MOMENTS])
    assert [{len(feeds[MOMENTS]) for feeds in session.fed} for session in (tower, larger)] == [{moments}, {2 * moments}]
    assert {len(feeds[FEATURES]) for feeds in rest.fed} == {1, 2}


def test_on_a_gpu_every_size_keeps_features_and_texts_alone_need_no_tower(served_on_gpu: ArmModel) -> None:
    tower, _, larger = OnGpu.made
    served_on_gpu.keep_features()
    golden = read_bundle(DEFAULT_BUNDLE).golden.inputs
    for size in (1, 2):
        picked = np.resize(np.flatnonzero(golden["video_present"]), size)
        feeds = {name: array[picked] for name, array in golden.items()}
        assert served_on_gpu.run(feeds)[FEATURES].any()
        assert not served_on_gpu.run(feeds | {"video_present": np.zeros(size, bool)})[FEATURES].any()
    assert [len(session.fed) for session in (tower, larger)] == [1, 1]
    with pytest.raises(ValueError, match="3 examples are none of"):
        served_on_gpu.run({name: array[:3] for name, array in golden.items()})


def test_what_a_clip_takes_is_measured_on_clips(
    bundle: Bundle, gpu: tuple[ArmModel, list[OnGpu]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among the golden examples is a text without one, which takes next to nothing."""
    assert set(bundle.golden.inputs["video_present"].tolist()) == {True, False}
    model, _ = gpu
    timed: list[dict[str, Any]] = []
    monkeypatch.setattr(model, "_timed", lambda feeds: float(timed.append(feeds) or len(timed)))
    model.prove()
    clips, texts, batch = (feeds["video_present"] for feeds in timed)
    assert (len(clips), len(batch)) == (1, 4)
    assert clips.all()
    assert batch.all()
    assert not texts.any()
    assert model.seconds == {1: 1.0, 4: 3.0}
    assert model.text_seconds == 2.0


def test_golden_texts_are_padded_on_the_right_as_requests_are(
    bundle: Bundle, gpu: tuple[ArmModel, list[OnGpu]]
) -> None:
    model, sessions = gpu
    model.prove()
    golden, fed = bundle.golden.inputs, sessions[0].fed[0]
    assert len(fed["input_ids"]) == 1
    length = golden["input_ids"].shape[1]
    assert length < SPEC.max_text_tokens
    for name, fill in (("input_ids", bundle.tokenizer.pad_id), ("attention_mask", 0)):
        np.testing.assert_array_equal(fed[name][:, :length], golden[name][:1])
        assert (fed[name][:, length:] == fill).all()


def test_on_the_cpu_the_tower_reads_the_rows_that_have_a_clip_one_moment_at_a_time(bundle: Bundle) -> None:
    model = ArmModel(bundle, LaneSettings(buckets=(1, 4)))
    assert model.provider == "CPUExecutionProvider"
    (graphs,) = {id(graphs): graphs for graphs in model._graphs.values()}.values()
    assert (graphs.every_row, graphs.moments_at_once) == (False, 1)


def test_both_runtimes_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "1.31.1")
    with pytest.raises(StartError, match="both installed"):
        refuse_double_runtime()
