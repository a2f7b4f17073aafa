"""Replay of what a running service decided: everything comes out again; what was tampered with is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.experiment.__main__ import main
from service.experiment.log.compaction import compact
from tests.integration.service.conftest import bundles, environment, launch, wait_until_ready
from tests.integration.service.test_classify import post_form, verdict
from tests.synthetic_bundle import rewrite_manifest, write_clip

__all__ = ["bundles"]
CLIPS = 6


@dataclass
class Archive:
    """What lies there after a day of serving."""

    log: Path
    media: Path
    texts: Path
    bundles: Path


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Archive:
    folder = tmp_path_factory.mktemp("archive")
    found = Archive(folder / "log", folder / "media", folder / "texts.jsonl", bundles)
    found.media.mkdir()
    lines: list[dict[str, str | None]] = [{"media": None, "title": "a cat", "overlay_text": ""}]
    running = wait_until_ready(
        launch(folder / "stderr", environment(bundles, CPFD_LOG__DIRECTORY=str(found.log))), folder / "stderr"
    )
    with httpx.Client(base_url=running.url, timeout=20) as client:
        verdict(post_form(client, title="a cat", overlay_text=""))
        for number in range(CLIPS):
            data = write_clip(folder / "clip.mp4", seed=number).read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            named = {0: digest, 1: "video-1"}.get(number, f"upload {number}")
            (found.media / f"{named}.mp4").write_bytes(data)
            texts = {"title": f"a fight {number}"} if number % 2 else {}
            if texts:
                lines.append({"media": digest, **texts})
            verdict(post_form(client, data, video_id=f"video-{number}", **texts))
        assert post_form(client, b"no video").status_code == 422  # no verdict: nothing to be made again
    found.texts.write_text("\n".join(map(json.dumps, lines)))
    assert running.stop() == 0
    return found


def replayed(
    capsys: pytest.CaptureFixture[str], archive: Archive, *more: str, texts: bool = True, bundles: Path | None = None
) -> tuple[int, dict[str, Any]]:
    arguments = ["replay", "--log", str(archive.log), "--media", str(archive.media), *more]
    for name in ("baseline", "student"):
        arguments += ["--bundle", str((bundles or archive.bundles) / name)]
    if texts:
        arguments += ["--texts", str(archive.texts)]
    code = main(arguments)
    return code, json.loads(capsys.readouterr().out)


def test_everything_comes_out_again(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = replayed(capsys, archive, "--epsilon", "0.000001")
    assert (code, said["good"], said["decisions"], said["differing"]) == (0, True, CLIPS + 1, [])
    assert said["outcomes"].keys() <= {"exact", "within_epsilon"}
    assert said["worst_gap"] <= 1e-6
    assert replayed(capsys, archive, "--limit", "2")[1]["decisions"] == 2


def test_out_of_parquet_too(archive: Archive, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    shutil.copytree(archive.log, log)
    compact(log)
    code, said = replayed(capsys, Archive(log, archive.media, archive.texts, archive.bundles))
    assert (code, said["decisions"]) == (0, CLIPS + 1)


def test_texts_that_nobody_brings_are_named(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = replayed(capsys, archive, texts=False)
    assert code == 1
    assert said["outcomes"]["texts_missing"] == 1 + CLIPS // 2
    assert said["outcomes"].get("exact", 0) + said["outcomes"].get("within_epsilon", 0) == CLIPS // 2


def test_a_tampered_clip_is_named(archive: Archive, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    media = tmp_path / "media"
    shutil.copytree(archive.media, media)
    altered = [path for path in media.iterdir() if path.stem == "video-1" or len(path.stem) == 64]
    assert len(altered) == 2
    for path in [*altered, media / "upload 2.mp4"]:  # known by digest; by id; not known any more
        path.write_bytes(path.read_bytes() + b"\0")
    code, said = replayed(capsys, Archive(archive.log, media, archive.texts, archive.bundles))
    assert code == 1
    assert (said["outcomes"]["media_altered"], said["outcomes"]["media_missing"]) == (2, 1)
    assert {entry["detail"].partition(":")[0] for entry in said["differing"] if "altered" in entry["outcome"]} == {
        path.name for path in altered
    }


def test_a_tampered_bundle_is_named(archive: Archive, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shutil.copytree(archive.bundles, tmp_path / "bundles")
    graph = tmp_path / "bundles" / "student" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\1")
    code, said = replayed(capsys, archive, bundles=tmp_path / "bundles")
    assert code == 1
    assert "altered" in said["refused_bundles"][str(tmp_path / "bundles" / "student")]
    lacking = [entry for entry in said["differing"] if entry["outcome"] == "other_bundle"]
    assert lacking
    assert {entry["arm"] for entry in lacking} == {"student"}


def test_another_bundle_is_named(archive: Archive, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Whole, but not the one that decided: its digest is another."""
    shutil.copytree(archive.bundles, tmp_path / "bundles")
    rewrite_manifest(tmp_path / "bundles" / "student", lambda manifest: manifest.update(version="0.1.1"))
    code, said = replayed(capsys, archive, bundles=tmp_path / "bundles")
    assert (code, said["refused_bundles"]) == (1, {})
    assert {entry["outcome"] for entry in said["differing"]} == {"other_bundle"}


def test_scores_that_come_out_otherwise_are_named(
    archive: Archive, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a machine or a library that reckons otherwise."""
    from service.experiment.replay import reenactment

    infer = reenactment.ArmModel.infer

    def off(self: Any, examples: Any) -> Any:
        return {name: values + 1.0 for name, values in infer(self, examples).items()}

    monkeypatch.setattr(reenactment.ArmModel, "infer", off)
    code, said = replayed(capsys, archive)
    assert (code, said["outcomes"]) == (1, {"scores_differ": CLIPS + 1})
    assert said["worst_gap"] > 0.02
