"""A bundle's reference is what a service would have counted on the same rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contract.bundle import REFERENCE_FILE, Bundle, read_bundle
from contract.errors import BundleError
from contract.reference import SCORE_BOUNDS, ScoreReference
from model_export.__main__ import main
from model_export.decide_rows import BATCH
from model_export.errors import ExportError
from model_export.reference import HeldOut, measure_reference
from model_export.write_bundle import add_reference
from tests.synthetic_bundle import TASKS, write_clip, write_synthetic_bundle
from training.data.manifest import Manifest, Row
from training.data.manifest_io import write_manifest

HELD_OUT = HeldOut(progress=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest, Path]:
    """A bundle, a manifest of which five validation rows can be read, and a place for frames."""
    home = tmp_path_factory.mktemp("reference")
    write_clip(home / "a.mp4", seconds=0.5)
    write_clip(home / "b.mp4", seconds=0.5, seed=1)
    (home / "broken.mp4").write_bytes(b"no clip")
    rows = [
        Row(id="clip", video="a.mp4", split="val", group="1"),
        Row(id="both", video="b.mp4", texts={"title": "a fight in the park"}, split="val", group="2"),
        Row(id="t1", texts={"title": "news"}, split="val", group="3"),
        Row(id="t2", texts={"title": "you won t believe this cat"}, split="val", group="4"),
        Row(id="t3", texts={"title": "bird in the park"}, split="val", group="5"),
        Row(id="nothing", texts={"title": " "}, split="val", group="6"),
        Row(id="broken", video="broken.mp4", texts={"title": "a cat"}, split="val", group="7"),
        *(Row(id=f"train{i}", texts={"title": "cat"}, split="train", group="8") for i in range(20)),
    ]
    manifest = Manifest(name="held-out", tasks=TASKS, media_root=str(home), rows=tuple(rows))
    write_manifest(manifest, home / "manifest")
    return write_synthetic_bundle(home / "bundle"), manifest, home / "cache"


@pytest.fixture
def bundle(made: tuple[Path, Manifest, Path]) -> Bundle:
    return read_bundle(made[0])


def measured(bundle: Bundle, made: tuple[Path, Manifest, Path]) -> ScoreReference:
    return measure_reference(bundle, made[1], made[2], HELD_OUT)


def test_rows_count_where_their_modalities_support_the_task(bundle: Bundle, made: tuple[Path, Manifest, Path]) -> None:
    found = measured(bundle, made)
    assert {task: histogram.rows for task, histogram in found.tasks.items()} == {
        "violence": 2,
        "restricted_object": 2,
        "clickbait": 4,
        "topics": 5,
    }
    assert (found.rows, found.failed, found.split, found.test_fold) == (5, 1, "val", None)
    assert found.manifest_digest == made[1].digest()


def test_scores_are_those_of_the_bundles_model(bundle: Bundle, made: tuple[Path, Manifest, Path]) -> None:
    """A policy of temperature near 0 sends every binary score to an end of the scale."""
    policy = bundle.manifest.policy
    sharp = {n: p.model_copy(update={"temperature": 1e-6}) for n, p in policy.tasks.items()}
    manifest = bundle.manifest.model_copy(update={"policy": policy.model_copy(update={"tasks": sharp})})
    found = measured(replace(bundle, manifest=manifest), made)
    assert sum(found.tasks["clickbait"].counts[i] for i in (0, len(SCORE_BOUNDS) - 1)) == 4
    assert found.tasks["clickbait"] != measured(bundle, made).tasks["clickbait"]
    assert found.policy_digest != bundle.manifest.policy.digest()


def test_a_split_without_rows_is_an_error(bundle: Bundle, made: tuple[Path, Manifest, Path]) -> None:
    with pytest.raises(ExportError, match="test split"):
        measure_reference(bundle, made[1], made[2], HeldOut("test", progress=False))


def test_the_command_writes_it_and_the_bundle_verifies(
    made: tuple[Path, Manifest, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = write_synthetic_bundle(tmp_path / "bundle")
    asked = ["reference", "--bundle", str(directory), "--manifest", str(made[2].parent / "manifest")]
    with pytest.raises(SystemExit) as done:
        main([*asked, "--cache", str(made[2])])
    assert done.value.code == 0
    told = json.loads(capsys.readouterr().out)
    bundle = read_bundle(directory)
    assert told["digest"] == bundle.digest
    assert bundle.reference is not None
    assert told["reference_rows"] == {task: found.rows for task, found in bundle.reference.tasks.items()}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle"]


def test_a_reference_of_another_model_is_refused_and_the_bundle_stays(
    bundle: Bundle, made: tuple[Path, Manifest, Path], tmp_path: Path
) -> None:
    other = write_synthetic_bundle(tmp_path / "other", seed=5)
    before = read_bundle(other).digest
    with pytest.raises(BundleError, match="another model"):
        add_reference(other, measured(bundle, made))
    assert read_bundle(other).digest == before


@pytest.mark.parametrize(("more", "code"), [(["--split", "all"], 2), (["--fold", "0"], 1)])
def test_bad_usage_and_bad_input_have_their_exit_codes(
    made: tuple[Path, Manifest, Path], more: list[str], code: int
) -> None:
    asked = ["reference", "--bundle", str(made[0]), "--manifest", str(made[2].parent / "manifest")]
    with pytest.raises(SystemExit) as done:
        main([*asked, "--cache", str(made[2]), *more])
    assert done.value.code == code


def test_a_manifest_of_folds_is_measured_without_the_fold_that_was_tested(
    bundle: Bundle, made: tuple[Path, Manifest, Path], tmp_path: Path
) -> None:
    titles = ["news", "you won t believe this cat", "bird in the park", "a cat in the park"]
    rows = [Row(id=f"r{n}", texts={"title": t}, fold=n % 4, group=str(n)) for n, t in enumerate(titles * 3)]
    manifest = Manifest(name="folds", tasks=TASKS, folds=4, rows=tuple(rows))
    found = measure_reference(bundle, manifest, tmp_path / "cache", HeldOut("test", 2, progress=False))
    assert (found.split, found.test_fold, found.rows, found.failed) == ("test", 2, 3, 0)
    assert found.model_digest == bundle.manifest.model_digest
    assert found.policy_digest == bundle.manifest.policy.digest()
    other = measure_reference(bundle, manifest, tmp_path / "cache", HeldOut("test", 1, progress=False))
    assert other.test_fold == 1
    assert other.tasks != found.tasks


def test_more_rows_than_a_batch_holds_all_count(bundle: Bundle, tmp_path: Path) -> None:
    rows = [
        Row(id=f"r{n}", texts={"title": "a cat " * (n % 5 + 1)}, split="val", group=str(n))
        for n in range(2 * BATCH + 1)
    ]
    others = [Row(id="train", texts={"title": "cat"}, split="train", group="train")]
    whole = Manifest(name="many", tasks=TASKS, rows=(*rows, *others))
    found = measure_reference(bundle, whole, tmp_path / "cache", HELD_OUT)
    assert found.rows == found.tasks["clickbait"].rows == 2 * BATCH + 1
    parts = [
        measure_reference(bundle, whole.model_copy(update={"rows": (*part, *others)}), tmp_path / "cache", HELD_OUT)
        for part in (rows[:BATCH], rows[BATCH : 2 * BATCH], rows[2 * BATCH :])
    ]
    summed = np.sum([part.tasks["clickbait"].counts for part in parts], axis=0)
    assert list(found.tasks["clickbait"].counts) == summed.tolist()


def test_the_file_is_one_that_people_can_read_and_compare(
    bundle: Bundle, made: tuple[Path, Manifest, Path], tmp_path: Path
) -> None:
    directory = write_synthetic_bundle(tmp_path / "bundle")
    found = add_reference(directory, measured(bundle, made))
    text = (directory / REFERENCE_FILE).read_text()
    assert ScoreReference.model_validate_json(text) == found.reference
    assert text.endswith("}\n")
    assert f'\n "model_digest": "{bundle.manifest.model_digest}"' in text
