"""The commands as an analyst calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from analysis.simulation.made_log import EXPERIMENT

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls the commands as ``python -m analysis`` does, in this process."""

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["analysis", *arguments])
        try:
            main()
            code: Any = 0
        except SystemExit as ended:
            code = ended.code or 0
        said = capsys.readouterr()
        return Done(int(code), said.out, said.err)

    return call


def test_a_report_is_written_and_said_in_short(run: Run, small_log: Path, tmp_path: Path) -> None:
    options = ["--experiment", EXPERIMENT, "--shares", "xvlm-baseline=50,cpfd-student=50", "--replicates", "100"]
    done = run("report", "--log", str(small_log), "--out", str(tmp_path / "out"), *options)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    whole = json.loads((tmp_path / "out" / "report.json").read_text())
    assert said["decision"] == whole["decision"]
    assert said["preconditions"]["sample ratio"] == "green"
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")
    assert whole["assignment"]["planned_shares_given"] is True


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("report", "--log", "missing", "--out", "out"), 1, "missing: no such folder"),
        (("report", "--log", "LOG", "--out", "out"), 1, "say which experiment: --experiment"),
        (("report", "--log", "LOG", "--out", "out", "--experiment", EXPERIMENT, "--control", "x"), 1, "arms are"),
        (("report", "--log", "LOG", "--out", "out", "--feedback", "none.csv"), 1, "none.csv"),
        (("report", "--log", "LOG", "--out", "out", "--primary", "accuracy"), 2, "primary"),
        (("report", "--log", "LOG", "--out", "out", "--shares", "a"), 2, "expected NAME=VALUE"),
        (("report", "--log", "LOG", "--out", "out", "--shares", "a=-1"), 2, "a weight is a number"),
        (("report", "--log", "LOG", "--out", "out", "--since", "soon"), 2, "expected a date"),
        (("plan", "--units", "1000", "--base-rate", "2"), 2, "base_rate"),
    ],
)  # fmt: skip
def test_bad_input_is_said_in_a_line(
    run: Run, small_log: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = run(*(str(small_log) if a == "LOG" else str(tmp_path / a) if a == "out" else a for a in arguments))
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plan_is_json(run: Run) -> None:
    done = run("plan", "--units", "20000", "--effect", "0.05", "--review-passed", "0.2")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["effect"]["power_one_look"] > 0


def test_help_loads_nothing_heavy() -> None:
    code = "import analysis.__main__, sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"duckdb", "scipy", "numpy", "matplotlib", "pyarrow", "torch"} & set(done.stdout.split())
