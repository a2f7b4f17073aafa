"""``pack`` and ``run --shards``, as commands: what is trained is what is trained from the clips."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from training.__main__ import app
from training.config import RunConfig
from training.data.synthetic import generate
from training.fitting.checkpoint import read_card

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def command(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_a_student_of_shards_and_workers_has_the_weights_of_one_of_clips(
    tmp_path: Path, tiny_config: RunConfig, caplog: pytest.LogCaptureFixture
) -> None:
    data, shards, config = tmp_path / "data", tmp_path / "shards", tmp_path / "tiny.yaml"
    generate(data, clips=24, titles=24, seed=2)
    (data / "clips" / "0005.mp4").write_bytes(b"not a clip")
    config.write_text(yaml.safe_dump(tiny_config.model_dump(mode="json")))
    common = ("--config", config, "--seed", 0, "--methods", "ce")
    command("run", "--manifest", data, "--out", tmp_path / "a", "--cache", tmp_path / "cache", *common)
    packed = ("pack", "--manifest", data, "--out", shards, "--config", config, "--cache", tmp_path / "cache")
    told = json.loads(command(*packed, "--rows-per-shard", 10))
    assert told["failed"] == {"clip0005": "unsupported_media"}
    assert (told["count"], told["rows"], told["clips"]) == (5, 48, 23)
    shutil.rmtree(data)
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a" / "tokenizer.json", tmp_path / "b")
    command("run", "--shards", shards, "--out", tmp_path / "b", "--cache", tmp_path / "none", "--workers", 1, *common)
    for name in ("teacher", "ce"):
        ours, theirs = (read_card(tmp_path / run / "seed0-fold0" / name) for run in ("a", "b"))
        assert ours == theirs
        assert ours.weights_digest == theirs.weights_digest
    assert "container_only is left out" in caplog.text
