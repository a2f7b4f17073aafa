"""A clip that every worker can decode."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.synthetic_bundle import write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("decoding") / "clip.mp4")
