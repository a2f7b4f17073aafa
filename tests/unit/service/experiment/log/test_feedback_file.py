"""Labels in bulk, from each kind of file; all or none; the same file twice counts once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract.decision_log import Feedback, name_hash
from service.experiment.log.__main__ import main
from service.experiment.log.compaction import compact
from service.experiment.log.files import log_files
from service.experiment.log.reading import read_records

ROWS: list[dict[str, Any]] = [
    {"video_id": "v1", "task": "violence", "labels": ["calm"], "source": "audit", "views": 3, "sampled_with": 0.5},
    {"decision_id": "a" * 32, "task": "topics", "labels": ["news", "sport"], "source": "audit", "time_ms": 1000},
    {"video_id": "v2", "task": "topics", "labels": [], "source": "audit", "attributes": {"country": "se"}},
]


def as_file(folder: Path, kind: str, rows: list[dict[str, Any]] = ROWS) -> Path:
    path = folder / f"labels.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    elif kind == "csv":
        names = list(dict.fromkeys(name for row in rows for name in row))
        lines = [",".join(names)]
        for row in rows:
            shown = row | {"labels": "|".join(row["labels"])}
            if "attributes" in row:
                shown["attributes"] = '"' + json.dumps(row["attributes"]).replace('"', '""') + '"'
            lines.append(",".join(str(shown.get(name, "")) for name in names))
        path.write_text("\n".join(lines))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def taken(directory: Path) -> dict[str, Feedback]:
    return {f"{record.task}-{'|'.join(record.labels)}": record for record in read_records(directory, Feedback)}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_row_is_taken_and_the_same_file_twice_counts_once(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = as_file(tmp_path, kind, [dict(dict.fromkeys(ROWS[0] | ROWS[1] | ROWS[2]), **row) for row in ROWS])
    if kind == "csv":
        file = as_file(tmp_path, kind)
    for _ in range(2):
        assert main(["import-feedback", str(file), "--directory", str(tmp_path / "log")]) == 0
        assert json.loads(capsys.readouterr().out) == {"taken": 3, "faults": {}}
    assert len(list(read_records(tmp_path / "log", Feedback))) == 3
    found = taken(tmp_path / "log")
    assert found["violence-calm"].video_hash == name_hash("v1")
    assert (found["violence-calm"].views, found["violence-calm"].sampled_with) == (3, 0.5)
    assert (found["topics-news|sport"].decision_id, found["topics-news|sport"].time_ms) == ("a" * 32, 1000)
    assert found["topics-"].attributes == {"country": "se"}
    compact(tmp_path / "log")  # a closed file as any other
    assert log_files(tmp_path / "log") == []
    assert taken(tmp_path / "log").keys() == found.keys()


def test_one_bad_row_and_nothing_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = [*ROWS, {"video_id": "v3", "task": "violence", "labels": ["calm"], "source": "audit", "views": "many"}]
    file = as_file(tmp_path, "csv", bad)
    assert main(["import-feedback", str(file), "--directory", str(tmp_path / "log")]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["taken"] == 0
    assert list(said["faults"]) == ["4"]
    assert said["faults"]["4"].startswith("views: ")
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("video_id,task,labels,source\nv1,violence,calm,audit,more\n", "it has more cells than the header"),
        ("video_id,task,labels,source,time_ms\nv1,violence,calm,audit,1795564800000000\n", "time_ms: milliseconds"),
    ],
)
def test_a_row_that_would_break_what_comes_later_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "labels.csv").write_text(text)
    assert main(["import-feedback", str(tmp_path / "labels.csv"), "--directory", str(tmp_path / "log")]) == 1
    assert json.loads(capsys.readouterr().out)["faults"]["1"].startswith(said)


def test_empty_lines_of_a_file_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"video_id": "v1", "task": "violence", "labels": ["calm"], "source": "audit"}
    (tmp_path / "labels.jsonl").write_text(json.dumps(row) + "\n\n")
    assert main(["import-feedback", str(tmp_path / "labels.jsonl"), "--directory", str(tmp_path / "log")]) == 0
    assert json.loads(capsys.readouterr().out)["taken"] == 1


@pytest.mark.parametrize(
    ("name", "content"), [("labels.txt", "x"), ("labels.jsonl", "[1]"), ("labels.jsonl", "{"), ("labels.parquet", "x")]
)
def test_a_file_that_is_none_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    assert main(["import-feedback", str(tmp_path / name), "--directory", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
