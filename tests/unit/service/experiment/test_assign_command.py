"""python -m service.experiment assign: what the service decides, without the service."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contract.decision_log import name_hash
from service.experiment.__main__ import main
from service.experiment.configuration import read_experiments
from service.experiment.plan import Plan, Units
from service.experiment.stop_file import Stop, add_stops

ROOT = Path(__file__).resolve().parents[4]
CONFIG = """\
port: 1
arms: [{name: old, bundle: b/old, weight: 1}, {name: new, bundle: b/new, weight: 1}]
experiment: {name: e, holdout: 0.1, ramp: [{from: 2026-12-01T00:00:00Z, weights: {old: 1, new: 9}}]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "serve.yaml").write_text(CONFIG)
    return tmp_path / "serve.yaml"


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("at", ["2026-11-30T00:00:00Z", "2026-12-02T00:00:00+01:00"])
def test_it_says_what_the_plan_says(config: Path, capsys: pytest.CaptureFixture[str], at: str) -> None:
    units = [str(i) for i in range(60)]
    assert main(["assign", "--config", str(config), "--at", at, *units]) == 0
    plan = Plan.of(read_experiments(config))
    for unit, line in zip(units, lines(capsys), strict=True):
        found = plan.assign(Units("", unit), datetime.fromisoformat(at))
        assert (line["arm"], line["holdout"]) == (found.arm, found.holdout)
        assert line["unit_hash"] == name_hash(unit)


def test_units_come_from_standard_input_and_stopped_arms_from_the_file(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stop = Stop(experiment="e", arm="old", bundle_digest="0" * 64, guardrail="p99", reason="r", time_ms=1, pod="p")
    add_stops(tmp_path / "stops.json", [stop])
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{i}\n" for i in range(60))))
    assert main(["assign", "--config", str(config), "--stopped", str(tmp_path / "stops.json")]) == 0
    found = lines(capsys)
    assert len(found) == 60
    assert {line["arm"] for line in found if not line["holdout"]} == {"new"}


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assign", "--config", str(tmp_path / "none.yaml"), "1"]) == 1
    (tmp_path / "bad.yaml").write_text("experiment: {sallt: x}")
    assert main(["assign", "--config", str(tmp_path / "bad.yaml"), "1"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
    with pytest.raises(SystemExit):
        main(["assign", "--config", str(tmp_path / "bad.yaml"), "--at", "2026-12-01T00:00:00", "1"])


def test_it_needs_neither_model_runtime_nor_decoder() -> None:
    code = (
        "import sys\nfrom service.experiment.__main__ import main\n"
        "main(['assign', '--config', 'configs/serve.yaml', '1'])\n"
        "print({'onnxruntime', 'fastapi', 'av', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["arm"] in ("baseline", "student")
    assert done.stderr.strip() == "set()"


def test_now_is_the_default_time(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["assign", "--config", str(config), *[str(i) for i in range(40)]])
    plan, now = Plan.of(read_experiments(config)), datetime.now(UTC)
    assert [line["arm"] for line in lines(capsys)] == [plan.assign(Units("", str(i)), now).arm for i in range(40)]
