"""Sources of weights: what packages ship, and archives that are unpacked whole or not at all."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import file_digest
from training.config import PretrainedConfig, WeightSource
from training.models.weights.encoder_files import encoder_digest, locate, require_encoder, weights_file
from training.models.weights.install import PretrainedError

MODULE = "shipped_weights_of_a_test"
CONFIG = PretrainedConfig(kind="encoders", text=WeightSource(source="x", licence="MIT"))
HELD = {"model.safetensors": b"w" * 1000, "tokenizer.json": b"{}"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with a file and an archive; the working directory is a folder of its own."""
    home = tmp_path / "site" / MODULE
    home.mkdir(parents=True)
    (home / "__init__.py").touch()
    (home / "weights.pth").write_bytes(b"some")
    with zipfile.ZipFile(home / "model.zip", "w") as archive:
        for name, content in HELD.items():
            archive.writestr(name, content)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield home
    sys.modules.pop(MODULE, None)


def given(inside: str, **more: Any) -> WeightSource:
    return WeightSource(**{"source": f"package:{MODULE}/{inside}", "licence": "Apache-2.0"} | more)


def leftovers() -> list[Path]:
    return [path for path in Path(".cache/weights").glob("*") if path.name.endswith(".partial")]


def test_a_file_that_a_package_ships_is_found(package: Path) -> None:
    source = given("weights.pth")
    assert locate(source.source, CONFIG) == package / "weights.pth"
    assert encoder_digest(source, CONFIG) == file_digest(package / "weights.pth")
    require_encoder(source, CONFIG)


def test_a_file_of_another_digest_is_refused(package: Path) -> None:
    with pytest.raises(PretrainedError, match="not the file whose SHA-256 the preset names"):
        require_encoder(given("weights.pth", sha256="0" * 64), CONFIG)


def test_a_licence_for_research_alone_needs_the_flag(package: Path) -> None:
    source = given("weights.pth", licence="CC-BY-NC-4.0")
    with pytest.raises(PretrainedError, match="allow_research_weights"):
        require_encoder(source, CONFIG)
    require_encoder(source, CONFIG.model_copy(update={"allow_research_weights": True}))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("package:no_such_package_at_all/x.pth", "no_such_package_at_all is not installed: `make retrain` installs it"),
        (f"package:{MODULE}/absent.pth", "ships no such file"),
        ("absent.pth", "there is no such file or folder"),
    ],
)
def test_a_source_that_is_not_there_is_one_line(source: str, says: str, package: Path) -> None:
    with pytest.raises(PretrainedError, match=says) as caught:
        locate(source, CONFIG)
    assert str(caught.value).startswith(source)
    assert "\n" not in str(caught.value)


def test_an_archive_is_unpacked_once(package: Path) -> None:
    home = locate(f"package:{MODULE}/model.zip", CONFIG)
    assert home is not None
    assert {name: (home / name).read_bytes() for name in HELD} == HELD
    assert weights_file(home).name == "model.safetensors"
    written = (home / "model.safetensors").stat().st_mtime_ns
    assert locate(f"package:{MODULE}/model.zip", CONFIG) == home
    assert (home / "model.safetensors").stat().st_mtime_ns == written
    assert not leftovers()


def test_an_unpacking_that_is_cut_short_leaves_nothing(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(self: zipfile.ZipFile, path: Path) -> None:
        Path(path).mkdir(parents=True, exist_ok=True)
        (Path(path) / "model.safetensors").write_bytes(b"w" * 10)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "extractall", cut)
        with pytest.raises(PretrainedError, match=r"model\.zip: cannot be unpacked: .*No space left"):
            locate(f"package:{MODULE}/model.zip", CONFIG)
    assert not list(Path(".cache").rglob("model.safetensors"))
    home = locate(f"package:{MODULE}/model.zip", CONFIG)
    assert home is not None
    assert (home / "model.safetensors").read_bytes() == HELD["model.safetensors"]


def test_what_a_killed_unpacking_left_is_not_taken_for_whole(package: Path) -> None:
    home = Path(".cache/weights") / file_digest(package / "model.zip")[:16]
    home.mkdir(parents=True)
    (home / "model.safetensors").write_bytes(b"w" * 10)
    assert locate(f"package:{MODULE}/model.zip", CONFIG) == home
    assert (home / "model.safetensors").read_bytes() == HELD["model.safetensors"]


def test_a_damaged_archive_is_one_line(package: Path) -> None:
    whole = (package / "model.zip").read_bytes()
    (package / "model.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PretrainedError, match=r"model\.zip: cannot be unpacked") as caught:
        locate(f"package:{MODULE}/model.zip", CONFIG)
    assert "\n" not in str(caught.value)
    assert not leftovers()
