"""Bad input to the export: one line for each fault, with its file, before anything is exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_export.__main__ import main
from model_export.model_card import read_notes, render_card
from tests.unit.training.finished_run import FinishedRun, make_finished_run
from training.config import RunConfig
from training.data.own.card_words import write_card_words
from training.fitting.checkpoint import read_card
from training.report.build import build_report

NOTES = """
intended_use: Tests.
not_for: [anything]
tasks:
  spam: {asks: "Is it spam?", data: None., limits: All.}
  topics: {asks: "What is it?", data: None., limits: All.}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_config: RunConfig) -> FinishedRun:
    return make_finished_run(tmp_path_factory.mktemp("export") / "runs", tiny_config)


def _said(caplog: pytest.LogCaptureFixture, place: Path, finished: FinishedRun, **changed: Path | str) -> list[str]:
    """The lines of the error that an export ends with; ``place`` holds notes and a tokenizer that would do."""
    (place / "notes.yaml").write_text(NOTES)
    (place / "tokenizer.json").write_text("{}")
    given: dict[str, Path | str] = {
        "name": "mine",
        "checkpoint": finished.runs / "seed0" / "cpfd",
        "tokenizer": place / "tokenizer.json",
        "notes": place / "notes.yaml",
        "out": place / "bundle",
    } | changed
    arguments = [part for name, path in given.items() for part in (f"--{name}", str(path))]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 1
    assert not (place / "bundle").exists()
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    return record.getMessage().splitlines()


def test_a_missing_checkpoint_is_named(finished: FinishedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (said,) = _said(caplog, tmp_path, finished, checkpoint=finished.runs / "seed0")
    assert said.startswith(f"{finished.runs}/seed0/checkpoint.json: cannot be read (No such file")


def test_a_checkpoint_card_of_another_form_is_one_line(
    finished: FinishedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "checkpoint.json").write_text('{"role": "student"}')
    (said,) = _said(caplog, tmp_path, finished, checkpoint=tmp_path)
    assert said.startswith(f"{tmp_path}/checkpoint.json: method: Field required; ")


def test_a_missing_tokenizer_is_named(finished: FinishedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (said,) = _said(caplog, tmp_path, finished, tokenizer=tmp_path / "other.json")
    assert said.startswith(f"{tmp_path}/other.json: there is no such file")


@pytest.mark.parametrize(("field", "value"), [("name", "My Student"), ("version", "1")])
def test_a_name_that_no_bundle_may_have_stops_before_the_export(
    finished: FinishedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture, field: str, value: str
) -> None:
    (said,) = _said(caplog, tmp_path, finished, **{field: value})
    assert said.startswith(f"{field}: String should match pattern")


@pytest.mark.parametrize(("text", "words"), [("", "not JSON"), ("[1]", "not a report"), ("{}", "not a report")])
def test_what_is_no_report_is_named(
    finished: FinishedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, words: str
) -> None:
    (tmp_path / "report.json").write_text(text)
    (said,) = _said(caplog, tmp_path, finished, report=tmp_path / "report.json")
    assert said.startswith(f"{tmp_path}/report.json: {words}")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["Input should be a valid dictionary or instance of CardNotes"]),
        ("not_for: []", ["intended_use: Field required", "not_for: Tuple should have at least 1 item", "tasks: Field"]),
        ("{a: [", ["not YAML: while parsing"]),
    ],
)
def test_each_fault_of_the_notes_is_a_line_with_its_file(
    finished: FinishedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, lines: list[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    said = _said(caplog, tmp_path, finished, notes=path)
    assert len(said) == len(lines)
    assert all(one.startswith(f"{path}: {line}") for one, line in zip(said, lines, strict=True))


def test_words_of_the_card_that_nobody_wrote_are_named(
    finished: FinishedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    card = write_card_words(finished.manifest, tmp_path)
    _said(caplog, tmp_path, finished, notes=card, tokenizer=tmp_path / "other.json")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith(str(card))]
    assert line.startswith(f"{card}: still to be written, and in the card as it is: intended_use, not_for, tasks.")
    assert line.endswith(".limits")
    card.write_text(NOTES)
    caplog.clear()
    _said(caplog, tmp_path, finished, notes=card, tokenizer=tmp_path / "other.json")
    assert "still to be written" not in capsys.readouterr().err


def test_a_metric_without_a_value_is_a_dash(finished: FinishedRun, tmp_path: Path) -> None:
    (tmp_path / "notes.yaml").write_text(NOTES)
    report = json.loads(json.dumps(build_report(finished.runs, finished.manifest, replicates=100)))
    for values in report["tasks"]["spam"]["methods"].values():
        values["pr_auc"] = {"mean": None, "interval": [None, None], "trials": [None, None]}
    del report["tasks"]["spam"]["methods"]["ce"]
    card = read_card(finished.runs / "seed0" / "cpfd")
    words = render_card("mine", "1.0.0", card, read_notes(tmp_path / "notes.yaml"), report, 0)
    assert "| spam | PR-AUC | - | - | - | - | container - |" in words
