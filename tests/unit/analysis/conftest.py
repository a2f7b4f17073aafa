"""Small logs, written once for all tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.simulation.made_log import KINDS, write_made_log


@pytest.fixture(scope="session")
def small_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound experiment of 350 accounts."""
    folder = tmp_path_factory.mktemp("small")
    write_made_log(replace(KINDS["good"], units=350, days=5), folder)
    return folder


@pytest.fixture(scope="session")
def broken_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that lost half of the treatment's units."""
    folder = tmp_path_factory.mktemp("broken")
    write_made_log(replace(KINDS["broken"], units=300, lost_share=0.5, rows_a_unit=1.2, days=3), folder)
    return folder
