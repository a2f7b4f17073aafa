from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from contract.decision import TaskKind, TaskSpec
from training.data.manifest import Manifest, PrivilegedGroup, Row, text_key
from training.data.manifest_io import read_manifest, write_manifest
from training.data.validation import ManifestError

BINARY = TaskSpec(name="risky", kind=TaskKind.BINARY, labels=("no", "yes"))
TAGS = TaskSpec(name="topics", kind=TaskKind.MULTILABEL, labels=("a", "b"))
FLOW = PrivilegedGroup(name="flow", features=("speed", "spread"))


def row(name: str, **fields: Any) -> Row:
    return Row(**{"id": name, "texts": {"title": name}, "group": name, **fields})


def manifest(*rows: Row, **fields: Any) -> Manifest:
    defaults: dict[str, Any] = {"name": "m", "tasks": (BINARY, TAGS), "privileged_groups": (FLOW,), "folds": 4}
    return Manifest(**{**defaults, "rows": rows, **fields})


def rich() -> Manifest:
    return manifest(
        row("one", video="clips/1.mp4", window_ms=(0.0, 1900.0), labels={"risky": "yes", "topics": ["a"]}, fold=3),
        row("two", labels={"topics": []}, split="train", slices={"country": "FR"}, view_count=3.5),
        row("three", privileged={"flow": {"speed": 0.1 + 0.2, "spread": None}}, split="val"),
        row("four", texts={"title": "ü\n\u2028", "overlay_text": ""}, privileged={"flow": {}}, fold=0),
    )


def test_folds_turn_and_splits_stay() -> None:
    m = manifest(*(row(f"f{k}", fold=k) for k in range(4)), row("s", split="val"))
    parts = {split: [r.id for r in rows] for split, rows in m.split_rows(3).items()}
    assert parts == {"train": ["f1", "f2"], "val": ["f0", "s"], "test": ["f3"]}


@pytest.mark.parametrize(
    ("rows", "test_fold"),
    [
        ([row("a", fold=0)], None),
        ([row("a", split="train")], 0),
        ([row("a", fold=0)], 4),
        ([row("a", fold=4)], 0),
        ([row("a", fold=1), row("b")], 0),
        ([row("a", fold=1), row("b", fold=1, split="train")], 0),
    ],
)
def test_rows_without_a_clear_place_are_refused(rows: list[Row], test_fold: int | None) -> None:
    with pytest.raises(ValueError, match=r"fold"):
        manifest(*rows).split_rows(test_fold)


def test_digest_follows_content_and_not_place() -> None:
    base = rich()
    assert base.digest() == base.model_copy(update={"media_root": "/elsewhere"}).digest()
    changed = base.rows[0].model_copy(update={"labels": {"risky": "no"}})
    assert base.digest() != base.model_copy(update={"rows": (changed, *base.rows[1:])}).digest()


def test_video_paths_start_at_the_media_root() -> None:
    m = manifest(row("a"), media_root="/media")
    assert m.video_path(row("a", video="x/1.mp4")) == Path("/media/x/1.mp4")
    assert m.video_path(row("a", video="/other/1.mp4")) == Path("/other/1.mp4")
    assert m.video_path(row("a")) is None


def test_tasks_are_found_by_name() -> None:
    assert rich().task("topics") is TAGS
    with pytest.raises(KeyError):
        rich().task("other")


@pytest.mark.parametrize("fields", [{"tasks": (BINARY, BINARY)}, {"folds": 2}, {"privileged_groups": (FLOW, FLOW)}])
def test_a_manifest_that_contradicts_itself_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        manifest(row("a", split="train"), **fields)


def test_text_key_sees_through_case_punctuation_and_numbers() -> None:
    assert text_key("Big  CAT, part 12!") == text_key("big cat - part 13")
    assert text_key("big cat") != text_key("big dog")
    assert text_key("12 !?") == ""


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_written_manifest_reads_back_the_same(tmp_path: Path, format: Literal["jsonl", "parquet"]) -> None:
    m = rich().model_copy(update={"media_root": str(tmp_path.resolve()), "rows_file": f"rows.{format}"})
    write_manifest(m, tmp_path / "here", format)
    again = read_manifest(tmp_path / "here")
    assert again == m
    assert again.digest() == m.digest() == rich().digest()


def test_a_media_root_inside_the_directory_moves_with_it(tmp_path: Path) -> None:
    m = rich().model_copy(update={"media_root": str(tmp_path / "old")})
    write_manifest(m, tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_manifest(tmp_path / "new" / "manifest.json").media_root == str((tmp_path / "new").resolve())


def test_parquet_with_structs_is_read(tmp_path: Path) -> None:
    write_manifest(manifest(row("a", split="train")), tmp_path, "parquet")
    records = [
        {"id": "a", "group": "a", "split": "train", "texts": {"title": "t"}, "labels": {"risky": "yes"}},
        {"id": "b", "group": "b", "split": "val", "texts": {"title": "t"}, "labels": {"risky": None}},
    ]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "rows.parquet")
    assert [r.labels for r in read_manifest(tmp_path).rows] == [{"risky": "yes"}, {}]


def _spoil(change: Callable[[dict[str, Any]], None]) -> Callable[[list[str]], list[str]]:
    def apply(lines: list[str]) -> list[str]:
        record = json.loads(lines[1])
        change(record)
        return [lines[0], json.dumps(record), *lines[2:]]

    return apply


@pytest.mark.parametrize(
    ("spoil", "column"),
    [
        (lambda lines: [lines[0], lines[1][:-2], *lines[2:]], ""),
        (lambda lines: [lines[0], "[]", *lines[2:]], ""),
        (_spoil(lambda r: r.pop("id")), "id"),
        (_spoil(lambda r: r.update(surprise=1)), "surprise"),
        (_spoil(lambda r: r.update(split="dev")), "split"),
        (_spoil(lambda r: r.update(privileged={"flow": {"speed": "fast"}})), "privileged.flow.speed"),
    ],
)
def test_a_faulty_line_is_named_by_file_row_and_column(
    tmp_path: Path, spoil: Callable[[list[str]], list[str]], column: str
) -> None:
    write_manifest(rich(), tmp_path)
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(spoil(path.read_text(encoding="utf-8").split("\n"))), encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path)
    assert [(f.file, f.row, f.column) for f in caught.value.faults] == [("rows.jsonl", 2, column)]


def test_every_faulty_line_is_told_at_once(tmp_path: Path) -> None:
    write_manifest(rich(), tmp_path)
    (tmp_path / "rows.jsonl").write_text("{}\n{\n")
    with pytest.raises(ManifestError, match=r"rows\.jsonl:1: id: (.|\n)*rows\.jsonl:2: not JSON"):
        read_manifest(tmp_path)


def test_a_damaged_header_is_named(tmp_path: Path) -> None:
    path = re.escape(str(tmp_path / "manifest.json"))
    with pytest.raises(ManifestError, match=f"{path}: cannot be read .*folder"):
        read_manifest(tmp_path)
    write_manifest(rich(), tmp_path)
    (tmp_path / "rows.jsonl").unlink()
    with pytest.raises(ManifestError, match=f"{path}: rows_file"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"version": 2}')
    with pytest.raises(ManifestError, match=f"{path}: version"):
        read_manifest(tmp_path)


def test_what_our_own_checks_say_stands_alone(tmp_path: Path) -> None:
    path = write_manifest(rich(), tmp_path)
    path.write_text(path.read_text().replace('"folds": 4', '"folds": 2'))
    with pytest.raises(ManifestError, match=r"manifest\.json: folds must be 0 or at least 3"):
        read_manifest(tmp_path)


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    write_manifest(rich(), tmp_path, "parquet")
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ManifestError, match=r"rows\.parquet"):
        read_manifest(tmp_path)
