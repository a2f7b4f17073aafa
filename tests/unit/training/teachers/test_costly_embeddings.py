"""Embeddings of a costly encoder: the backbone's own maps, computed once, as a privileged group."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from contract.bundle import file_digest
from tests.moment_model import CLIP, SPEC, make_lively, moment_config
from tests.synthetic_bundle import write_clip
from training import __main__ as commands
from training.config import PretrainedConfig, RunConfig, WeightSource
from training.data.manifest import Manifest, PrivilegedGroup, Row
from training.data.manifest_io import read_manifest, write_manifest
from training.models.efficientnet_lite import EfficientNetLite
from training.models.weights.install import PretrainedError
from training.teachers import costly_embeddings
from training.teachers.costly_embeddings import CostlyInput, embed_clips, read_encoder, with_embeddings

GIVEN = CostlyInput(frames=4, frame_size=48)


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "lite0.pth"
    backbone = EfficientNetLite("lite0")
    make_lively(backbone)
    torch.save(backbone.state_dict(), path)
    source = WeightSource(source=str(path), licence="MIT")
    text = WeightSource(source="nowhere", licence="MIT")  # is not read
    pretrained = PretrainedConfig(kind="encoders", vision=source, text=text)
    # What the preset computes of some pictures alone, the embedding has of all.
    vision = {"maps": ("stride16", "stride32"), "middle_maps": ("stride32",), "statistics": ("mean",)}
    return RunConfig(input_spec=SPEC, model=moment_config(vision=vision), pretrained=pretrained)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Eight clips, one of them broken, and a title."""
    rows = []
    for n in range(7):
        write_clip(tmp_path / f"c{n}.mp4", seconds=0.5, seed=n)
        split = ("train", "train", "train", "train", "val", "test", "test")[n]
        rows.append(
            Row(id=f"c{n}", video=f"c{n}.mp4", labels={"clip": ("no", "yes")[n % 2]}, split=split, group=f"{n}")
        )
    (tmp_path / "broken.mp4").write_bytes(b"no clip")
    rows.append(Row(id="broken", video="broken.mp4", labels={"clip": "no"}, split="val", group="b"))
    rows.append(Row(id="title", texts={"title": "a cat"}, labels={"clip": "yes"}, split="val", group="t"))
    return Manifest(name="mine", tasks=(CLIP,), media_root=str(tmp_path), rows=tuple(rows))


def test_an_embedding_is_the_mean_and_the_motion_of_the_backbones_maps(preset: RunConfig, manifest: Manifest) -> None:
    encoder = read_encoder(preset, manifest, GIVEN)
    frames = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8)
    backbone = EfficientNetLite("lite0").eval()
    assert preset.pretrained is not None
    assert preset.pretrained.vision is not None
    backbone.load_state_dict(torch.load(preset.pretrained.vision.source, weights_only=True))
    with torch.no_grad():
        maps = backbone(torch.from_numpy(frames).permute(0, 3, 1, 2).float(), ("stride16", "stride32"))
    wanted = []
    for found in maps.values():
        wanted += [found.mean(dim=(0, 2, 3)), (found[1:] - found[:-1]).abs().mean(dim=(0, 2, 3))]
    np.testing.assert_allclose(encoder.embed(frames), torch.cat(wanted).numpy(), rtol=1e-4, atol=1e-5)


def test_clips_are_embedded_once_and_frames_are_not_kept(
    preset: RunConfig, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = read_encoder(preset, manifest, GIVEN)
    found, failed = embed_clips(encoder, manifest, tmp_path / "out", progress=False)
    assert set(found) == {f"c{n}" for n in range(7)}
    assert sum(failed.values()) == 1
    kept = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(kept) == sorted(found.values())
    found["c3"].unlink()
    embedded = []
    monkeypatch.setattr(
        costly_embeddings.CostlyEncoder, "embed", lambda self, frames: embedded.append(1) or np.zeros(3, np.float32)
    )
    again, _ = embed_clips(encoder, manifest, tmp_path / "out", progress=False)
    assert len(embedded) == 1
    assert again == found


def test_other_frames_or_weights_are_other_embeddings(preset: RunConfig, manifest: Manifest) -> None:
    first = read_encoder(preset, manifest, GIVEN)
    assert read_encoder(preset, manifest, GIVEN).identity == first.identity
    assert read_encoder(preset, manifest, CostlyInput(frames=5, frame_size=48)).identity != first.identity


def test_components_are_fitted_on_train_rows_alone(manifest: Manifest, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    files = {}
    for n in range(7):
        files[f"c{n}"] = tmp_path / f"e{n}.npy"
        np.save(files[f"c{n}"], rng.normal(size=5).astype(np.float32))
    first, record = with_embeddings(manifest, "costly", files, 64)
    assert (record["components"], record["fitted_on"], record["clips"]) == (3, "train rows", 7)
    assert record["explained"] == pytest.approx(1.0)
    np.save(files["c6"], np.full(5, 50, np.float32))  # a test row
    second, _ = with_embeddings(manifest, "costly", files, 64)
    values = [{row.id: row.privileged for row in made.rows} for made in (first, second)]
    assert all(values[0][f"c{n}"] == values[1][f"c{n}"] for n in range(6))
    assert values[0]["c6"] != values[1]["c6"]
    assert values[0]["title"] == values[0]["broken"] == {}
    train = np.asarray([list(values[0][f"c{n}"]["costly"].values()) for n in range(4)])
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-5)
    products = train.T @ train
    np.testing.assert_allclose(products - np.diag(np.diag(products)), 0, atol=1e-4)


def test_a_group_of_that_name_or_too_few_clips_are_refused(manifest: Manifest, tmp_path: Path) -> None:
    taken = manifest.model_copy(update={"privileged_groups": (PrivilegedGroup(name="costly", features=("a",)),)})
    with pytest.raises(ValueError, match="has a privileged group 'costly' already"):
        with_embeddings(taken, "costly", {}, 4)
    with pytest.raises(ValueError, match="0 train rows have an embedding"):
        with_embeddings(manifest, "costly", {}, 4)


def test_a_preset_without_a_backbone_is_refused(tiny_config: RunConfig, manifest: Manifest) -> None:
    with pytest.raises(PretrainedError, match="names no pretrained backbone"):
        read_encoder(tiny_config, manifest, GIVEN)


def test_the_command_writes_a_manifest_with_its_provenance(
    preset: RunConfig, manifest: Manifest, tmp_path: Path
) -> None:
    write_manifest(manifest, tmp_path / "manifest")
    (tmp_path / "preset.yaml").write_text(yaml.safe_dump(preset.model_dump(mode="json")))
    given = [
        "privileged-embeddings",
        "--manifest",
        str(tmp_path / "manifest"),
        "--config",
        str(tmp_path / "preset.yaml"),
    ]
    done = CliRunner().invoke(
        commands.app, [*given, "--out", str(tmp_path / "out"), "--frames", "4", "--frame-size", "48"]
    )
    assert done.exit_code == 0, done.output
    made = read_manifest(tmp_path / "out")
    assert [group.name for group in made.privileged_groups] == ["costly"]
    assert Path(made.media_root) == tmp_path
    record = json.loads((tmp_path / "out" / "costly.json").read_text())
    assert record["manifest"] == made.digest()
    assert record["from_manifest"] == manifest.digest()
    assert preset.pretrained is not None
    assert preset.pretrained.vision is not None
    assert record["sha256"] == file_digest(Path(preset.pretrained.vision.source))
    assert (record["frames"], record["frame_size"], record["licence"]) == (4, 48, "MIT")
