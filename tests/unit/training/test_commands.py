"""Bad input to the commands: one clear line and an exit code, before anything is trained."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recipes.benchmark.sizes import read_sizes
from training import __main__ as commands
from training.config import ConfigError
from training.data.manifest_io import read_manifest, write_manifest
from training.data.synthetic import generate
from training.data.validation import ManifestError


@pytest.fixture(scope="module")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands") / "toy"
    generate(folder, clips=16, titles=24, seed=0)
    return folder


def test_a_negative_seed_is_bad_usage(toy_folder: Path, tmp_path: Path) -> None:
    given = ["run", "--manifest", str(toy_folder), "--out", str(tmp_path / "runs"), "--seed", "-1"]
    assert CliRunner().invoke(commands.app, given).exit_code == 2
    assert not (tmp_path / "runs").exists()


def test_shards_that_would_end_with_the_process_are_bad_usage(toy_folder: Path) -> None:
    out = CliRunner().invoke(commands.app, ["pack", "--manifest", str(toy_folder), "--out", "memory://shards"])
    assert out.exit_code == 2
    assert "ends with this process" in out.stderr


def test_a_fusion_that_would_see_one_class_is_refused_before_training(toy_folder: Path, tmp_path: Path) -> None:
    sound = read_manifest(toy_folder)
    task = next(task for task in sound.tasks if task.name == "direction")
    rows = tuple(
        row.model_copy(update={"labels": {**row.labels, "direction": task.labels[0 if row.fold else 1]}})
        if "direction" in row.labels
        else row
        for row in sound.rows
    )
    write_manifest(sound.model_copy(update={"rows": rows}), tmp_path / "one")
    given = ["fusion", "--manifest", str(tmp_path / "one"), "--out", str(tmp_path / "out"), "--seeds", "1"]
    out = CliRunner().invoke(commands.app, given)
    assert isinstance(out.exception, ManifestError)
    assert "hold one class of the flag only" in str(out.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tasks", ["shape,nonsense", ","])
def test_tuning_tasks_are_checked_before_training(toy_folder: Path, tmp_path: Path, tasks: str) -> None:
    given = ["benchmark", "--manifest", str(toy_folder), "--out", str(tmp_path / "runs"), "--quick"]
    out = CliRunner().invoke(commands.app, [*given, "--select-on-validation", "--tuning-tasks", tasks])
    assert out.exit_code == 2
    assert "no task of the manifest" in out.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["benchmark", "pack", "run", "fusion"])
def test_a_manifest_with_errors_is_refused(command: str, toy_folder: Path, tmp_path: Path) -> None:
    sound = read_manifest(toy_folder)
    twice = sound.model_copy(update={"rows": (*sound.rows, sound.rows[0])})
    write_manifest(twice, tmp_path / "bad")
    out = CliRunner().invoke(
        commands.app, [command, "--manifest", str(tmp_path / "bad"), "--out", str(tmp_path / "out")]
    )
    assert isinstance(out.exception, ManifestError)
    assert "the same id as row 1" in str(out.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_the_list_of_commands_says_what_each_says_itself(name: str) -> None:
    assert (commands.load_command(name).help or "").startswith(commands.COMMANDS[name].summary)


def test_a_command_that_there_is_not_is_bad_usage() -> None:
    out = CliRunner().invoke(commands.app, ["nonsense"])
    assert out.exit_code == 2
    assert "No such command 'nonsense'" in out.stderr


def _fails(error: Exception) -> Callable[[], None]:
    def app() -> None:
        raise error

    return app


def test_a_killed_trial_process_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(commands, "app", _fails(BrokenProcessPool("a child process terminated abruptly")))
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    assert stopped.value.code == 1
    assert caplog.messages == ["a child process terminated abruptly"]


def test_an_unknown_method_is_one_line(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given = ["run", "--manifest", str(toy_folder), "--out", str(tmp_path / "runs"), "--methods", "ce,nonsense"]
    monkeypatch.setattr(sys, "argv", ["training", *given])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    assert stopped.value.code == 1
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 1
    assert "\n" not in said[0]
    assert said[0].startswith("methods: no method 'nonsense'; there are: ce, ")


def test_validate_prints_rows_as_numbers(toy_folder: Path, tmp_path: Path) -> None:
    made = read_manifest(toy_folder)
    write_manifest(made.model_copy(update={"rows": (*made.rows[:2], made.rows[0])}), tmp_path)
    out = CliRunner().invoke(commands.app, ["validate", "--manifest", str(tmp_path)])
    assert out.exit_code == 1
    faults = json.loads(out.stdout)
    assert faults[0] == {
        "file": "rows.jsonl",
        "row": 3,
        "column": "id",
        "message": "the same id as row 1",
        "severity": "error",
    }
    assert None in [fault["row"] for fault in faults]


def test_a_size_with_an_unknown_method_says_so_without_noise(tmp_path: Path) -> None:
    (tmp_path / "sizes.yaml").write_text("quick: {config: a.yaml, trials: 1, methods: [nonsense]}")
    with pytest.raises(ConfigError, match=r"sizes\.yaml: quick: no method 'nonsense'"):
        read_sizes(tmp_path / "sizes.yaml")


def test_one_class_in_a_trials_training_rows_is_told_before_training(toy_folder: Path, tmp_path: Path) -> None:
    made = read_manifest(toy_folder)
    rows = [
        row.model_copy(update={"labels": {**row.labels, "direction": "leftward"}})
        if row.fold in (2, 3) and "direction" in row.labels
        else row
        for row in made.rows
    ]
    write_manifest(made.model_copy(update={"rows": tuple(rows)}), tmp_path / "manifest")
    for given in (["run"], ["benchmark", "--quick"]):
        out = CliRunner().invoke(
            commands.app, [*given, "--manifest", str(tmp_path / "manifest"), "--out", str(tmp_path / "out")]
        )
        assert isinstance(out.exception, ManifestError)
        said = str(out.exception)
        assert "labels.direction: the " in said
        assert "train rows of the trial tested on fold 0 hold one class of the flag only: leftward" in said
        assert not (tmp_path / "out").exists()
