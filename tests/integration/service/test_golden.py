"""The service does not start where its decoder or tokenizer answers otherwise than at the export; old bundles start."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from tests.integration.service.conftest import environment, launch, wait_until_ready
from tests.synthetic_bundle import rewrite_manifest, write_synthetic_bundle


def test_a_mismatch_stops_the_start_and_is_one_line(tmp_path: Path, bundles: Path) -> None:
    shutil.copytree(bundles, tmp_path / "bundles")
    rewrite_manifest(tmp_path / "bundles" / "student", lambda m: m["replay"]["input_ids"].append(3))
    process = launch(tmp_path / "log", environment(tmp_path / "bundles"))
    assert process.wait(60) == 1
    told = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("cpfd: ")]
    assert len(told) == 1
    assert "student: its golden clip and title come out otherwise than at export: tokenisation: 1 tokens" in told[0]


@pytest.mark.parametrize(("format_version", "told"), [(1, 2), (2, 0)])
def test_bundles_of_both_formats_are_served(tmp_path: Path, clip: bytes, format_version: int, told: int) -> None:
    for seed, name in enumerate(("baseline", "student")):
        write_synthetic_bundle(tmp_path / name, seed=seed, format_version=format_version)  # type: ignore[arg-type]
    running = wait_until_ready(launch(tmp_path / "log", environment(tmp_path)), tmp_path / "log")
    try:
        lines = running.lines()
        assert sum(line["message"].startswith("the bundle holds no golden clip") for line in lines) == told
        gaps = [line["replay_gaps"] for line in lines if line["message"] == "arm ready"]
        assert [set(gap) for gap in gaps] == [{"decode", "tokenisation", "inference"} if told == 0 else set()] * 2
        assert httpx.post(f"{running.url}/classify", files={"video": clip}, timeout=20).status_code == 200
    finally:
        assert running.stop() == 0
