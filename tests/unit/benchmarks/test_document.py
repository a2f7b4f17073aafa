"""Benchmarks hand over their results alike: to a folder by date and name, or to stdout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.document import hand_over, when_and_where


def test_a_folder_gets_the_page_and_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = {"date": "2026-01-02", "figure": 3}
    hand_over(result, "thing", "# page\n", tmp_path / "new")
    assert (tmp_path / "new" / "2026-01-02-thing.md").read_text() == "# page\n"
    assert json.loads((tmp_path / "new" / "2026-01-02-thing.json").read_text()) == result
    assert capsys.readouterr() == ("", "# page\n")


def test_without_a_folder_the_figures_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    result = {**when_and_where(), "figure": 3}
    hand_over(result, "thing", "# page\n", None)
    shown = capsys.readouterr()
    assert json.loads(shown.out) == result
    assert shown.err == "# page\n"
