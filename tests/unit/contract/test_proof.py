"""The golden clip and title: a decoder, tokenizer or model that answers otherwise is named, and how far it is off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from contract import text
from contract.bundle import Bundle, read_bundle
from contract.errors import BundleError, GoldenMismatch
from contract.example import ModelInputs, collate
from contract.input_spec import InputSpec
from contract.proof import explained, libraries, prove_inputs, prove_inputs_here, prove_scores
from contract.replay import PIXEL_TOLERANCE, decode_bytes
from contract.video import DecodeLimits, pyav_backend
from tests.synthetic_bundle import write_synthetic_bundle

SPEC = InputSpec(frames=8, frame_size=112)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return read_bundle(write_synthetic_bundle(tmp_path_factory.mktemp("proof") / "bundle", input_spec=SPEC))


def logits_of(bundle: Bundle, inputs: ModelInputs) -> dict[str, NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(bundle.graph(), providers=["CPUExecutionProvider"])
    values = session.run(list(bundle.manifest.output_names), collate([inputs], bundle.tokenizer.pad_id))
    return {task.name: value[0] for task, value in zip(bundle.manifest.tasks, values, strict=True)}


def test_what_was_exported_here_is_met_to_the_bit(bundle: Bundle) -> None:
    inputs, gap = prove_inputs_here(bundle, DecodeLimits())
    assert gap == 0.0
    assert prove_scores(bundle, logits_of(bundle, inputs)) < 1e-6
    assert bundle.manifest.replay is not None
    assert set(libraries()) <= set(bundle.manifest.replay.recorded_with)


Shrink = Callable[[Any, InputSpec], NDArray[np.uint8]]


def other_scaler(frame: Any, spec: InputSpec) -> NDArray[np.uint8]:
    return pyav_backend.resize(pyav_backend.rgb(frame), spec.frame_size, "bilinear")


def another_scaler(frame: Any, spec: InputSpec) -> NDArray[np.uint8]:
    return pyav_backend.resize(pyav_backend.rgb(frame), spec.frame_size, "area")


def in_one_step(frame: Any, spec: InputSpec) -> NDArray[np.uint8]:
    side = spec.frame_size
    scaled = frame.reformat(width=side, height=side, format="rgb24", interpolation="BICUBIC", threads=1)
    return np.asarray(scaled.to_ndarray(), np.uint8)


def other_matrix(frame: Any, spec: InputSpec) -> NDArray[np.uint8]:
    converted = frame.reformat(format="rgb24", src_colorspace="ITU709", dst_colorspace="ITU601", threads=1)
    return pyav_backend.resize(converted.to_ndarray(), spec.frame_size, spec.interpolation)


def swapped_colours(frame: Any, spec: InputSpec) -> NDArray[np.uint8]:
    return pyav_backend.resize(pyav_backend.rgb(frame)[..., ::-1], spec.frame_size, spec.interpolation)


@pytest.mark.parametrize("shrink", [other_scaler, another_scaler, in_one_step, other_matrix, swapped_colours])
def test_another_way_from_packet_to_pixels_is_noticed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, shrink: Shrink
) -> None:
    monkeypatch.setattr(pyav_backend, "shrunk", shrink)
    with pytest.raises(GoldenMismatch, match="levels between pixels") as raised:
        prove_inputs_here(bundle, DecodeLimits())
    assert raised.value.stage == "decode"
    assert raised.value.gap > PIXEL_TOLERANCE == raised.value.tolerance


def test_pixels_that_another_machine_rounds_otherwise_pass(bundle: Bundle) -> None:
    assert bundle.clip is not None
    frames = decode_bytes(bundle.clip.data, SPEC, DecodeLimits())
    noise = np.random.default_rng(0).integers(-1, 2, frames.pixels.shape)
    rounded = np.clip(frames.pixels + noise, 0, 255).astype(np.uint8)
    _, gap = prove_inputs(bundle, rounded, frames.times_ms)
    assert 0.1 < gap < PIXEL_TOLERANCE


def test_other_pictures_at_other_times_are_noticed(bundle: Bundle) -> None:
    assert bundle.clip is not None
    frames = decode_bytes(bundle.clip.data, SPEC.model_copy(update={"sampling": "segment_first"}), DecodeLimits())
    with pytest.raises(GoldenMismatch, match="ms between frames"):
        prove_inputs(bundle, frames.pixels, frames.times_ms)
    right = decode_bytes(bundle.clip.data, SPEC, DecodeLimits())
    with pytest.raises(GoldenMismatch, match="levels between pixels"):
        prove_inputs(bundle, np.roll(right.pixels, 1, axis=0), right.times_ms)


def test_a_clip_that_is_refused_is_a_mismatch(bundle: Bundle) -> None:
    with pytest.raises(GoldenMismatch, match="video_too_long") as raised:
        prove_inputs_here(bundle, DecodeLimits(max_duration_s=0.1))
    assert raised.value.stage == "decode"


def test_another_tokenisation_is_noticed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "clean", lambda said, cleaning: said.replace("fight", "figth"))
    with pytest.raises(GoldenMismatch, match="1 tokens other than expected") as raised:
        prove_inputs_here(bundle, DecodeLimits())
    assert (raised.value.stage, raised.value.gap) == ("tokenisation", 1)


@pytest.mark.parametrize(("shift", "passes"), [(0.001, True), (0.5, False), (float("nan"), False)])
def test_other_scores_are_noticed(bundle: Bundle, shift: float, passes: bool) -> None:
    inputs, _ = prove_inputs_here(bundle, DecodeLimits())
    logits = {task: values + np.float32(shift) for task, values in logits_of(bundle, inputs).items()}
    if passes:
        assert prove_scores(bundle, logits) < 0.01
        return
    with pytest.raises(GoldenMismatch, match="inference") as raised:
        prove_scores(bundle, logits)
    assert raised.value.stage == "inference"


def test_the_line_for_the_operator_names_bundle_stage_gap_and_what_changed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = GoldenMismatch("decode", 3.456, 1.0, "levels between pixels and those expected")
    assert "was" not in explained(bundle, error)
    monkeypatch.setattr("contract.proof.metadata.version", lambda name: "99.0" if name == "av" else "1.0")
    said = explained(bundle, error)
    assert said.startswith(f"{bundle.directory}: ")
    assert "decode: 3.46 levels between pixels and those expected, over its tolerance of 1" in said
    assert f"av was {av.__version__}, is 99.0" in said


def test_a_bundle_of_format_1_has_nothing_to_replay(tmp_path: Path) -> None:
    old = read_bundle(write_synthetic_bundle(tmp_path / "old", format_version=1))
    with pytest.raises(BundleError, match="holds no golden clip"):
        prove_inputs_here(old, DecodeLimits())
    with pytest.raises(BundleError, match="holds no golden clip"):
        prove_scores(old, {})
