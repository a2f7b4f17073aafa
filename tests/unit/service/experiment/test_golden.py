"""At the start the golden clip goes through a real worker; what comes out otherwise stops the start and is named."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import read_bundle
from service.errors import StartError
from service.experiment.golden import GoldenReplays
from service.settings import DecodeSettings, LaneSettings
from service.stages.inference import ArmModel
from tests.synthetic_bundle import SPEC, rewrite_manifest, write_synthetic_bundle

SLOT = math.prod(SPEC.frames_shape)
HERE = "tests.unit.service"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_synthetic_bundle(tmp_path / "bundle")


def proved(directory: Path, **settings: Any) -> dict[str, float]:
    async def scenario() -> dict[str, float]:
        bundle = read_bundle(directory)
        async with GoldenReplays(DecodeSettings.model_validate(settings), SLOT) as replays:
            return await replays.prove("student", bundle, ArmModel(bundle, LaneSettings()))

    return asyncio.run(scenario())


def test_each_stage_is_proved_whatever_bounds_are_set_on_uploads(directory: Path) -> None:
    gaps = proved(directory, limits={"max_duration_s": 0.1, "max_frame_pixels": 16}, wall_seconds=0.001)
    assert gaps["decode"] == gaps["tokenisation"] == 0.0
    assert gaps["inference"] < 1e-5


def test_the_other_decoder_is_proved_too(directory: Path) -> None:
    pytest.importorskip("decord")
    assert proved(directory, limits={"backend": "decord"})["decode"] < 0.1


def test_a_worker_that_decodes_otherwise_stops_the_start(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.decoding.start._MODULE", f"{HERE}.experiment.other_decoder")
    with pytest.raises(StartError, match=r"decode: [\d.]+ levels between pixels and those expected"):
        proved(directory)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r["frame_times_ms"].__setitem__(0, 1.0), r"decode: 119 ms between frames"),
        (lambda r: r["input_ids"].__setitem__(3, 0), r"tokenisation: 1 tokens other than expected"),
        (lambda r: r["input_ids"].append(3), r"tokenisation: 1 tokens other than expected"),
        (lambda r: r["scores"]["violence"].update(calm=0.1), r"inference: 0\.\d+ between a score and the one expected"),
    ],
)
def test_what_comes_out_otherwise_than_recorded_is_named(
    directory: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    rewrite_manifest(directory, lambda m: change(m["replay"]))
    with pytest.raises(StartError, match=says) as raised:
        proved(directory)
    assert raised.value.detail.startswith(f"{directory}: its golden clip and title come out otherwise")


def test_a_bundle_without_a_clip_is_served_and_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = write_synthetic_bundle(tmp_path / "old", format_version=1)
    with caplog.at_level(logging.WARNING):
        assert proved(old) == {}
    assert [r.message for r in caplog.records] == [
        "the bundle holds no golden clip: decoding and tokenisation are not proved"
    ]


def test_workers_that_cannot_start_are_told_of(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.decoding.start._MODULE", f"{HERE}.sandbox.starved_worker")
    with pytest.raises(StartError, match=r"no decode worker starts: .*confined, the decoder does not work"):
        proved(directory)
