"""Clips that order something, workers that obey, and who was asked what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faulty_worker import faulty
from service.decoding import start
from service.decoding.process import DecodeProcess
from service.stages import decode as pool_module
from tests.synthetic_bundle import write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("decode") / "clip.mp4")


@pytest.fixture(autouse=True)
def few_processes(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """One spare process instead of two, except where a test needs them: starting them takes longer than the tests.

    And one for those who come last, whatever quota this machine is under.
    """
    monkeypatch.setattr(pool_module, "idle_time_is_free", lambda: True)
    if request.node.get_closest_marker("all_processes") is None:
        monkeypatch.setattr(pool_module, "SPARE_PROCESSES", 1)


@pytest.fixture
def obedient(monkeypatch: pytest.MonkeyPatch, clip: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes workers obey, and clips that order something."""
    monkeypatch.setattr(start, "_MODULE", "benchmarks.faulty_worker")

    def make(fault: str, task: str = "decode") -> Path:
        path = tmp_path / f"{fault}-{task}.mp4"
        path.write_bytes(faulty(clip.read_bytes(), fault, task))
        return path

    return make


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Which question was put to which process."""
    seen: list[tuple[str, int]] = []
    ask_really = DecodeProcess.ask

    async def noted(self: DecodeProcess, job: dict[str, Any], descriptor: int) -> dict[str, Any]:
        seen.append((job["task"], self.pid))
        return await ask_really(self, job, descriptor)

    monkeypatch.setattr(DecodeProcess, "ask", noted)
    return seen
