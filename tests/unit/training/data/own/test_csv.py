"""A CSV of named columns -> a manifest that can be trained on, or every fault by line and column."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from contract.decision import Modality, TaskKind
from model_export.model_card import read_notes
from tests.synthetic_bundle import write_clip
from training import __main__ as commands
from training.data.manifest_io import read_manifest
from training.data.own.columns import Columns, Feature, OptionError, features, lists, pairs
from training.data.own.manifest import Division, OwnManifest, manifest_of_csv
from training.data.validation import ManifestError, validate

Cells = Mapping[str, object]


def write_csv(path: Path, rows: Sequence[Cells]) -> Path:
    names = list(rows[0])
    lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def titles(number: int = 60, **changes: Any) -> list[dict[str, object]]:
    """Rows of three authors each four; a third is risky. A change is a column, or a function of the row's number."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    rows: list[dict[str, object]] = []
    for i in range(number):
        row: dict[str, object] = {
            "title": f"about {letters[i % 26]} {letters[i // 26]}",
            "risky": "yes" if i // 4 % 3 == 0 else "no",
            "author": f"a{i // 4}",
        }
        rows.append(row | {name: change(i) if callable(change) else change for name, change in changes.items()})
    return rows


def read(path: Path, division: Division | None = None, **columns: Any) -> OwnManifest:
    named = {"labels": {"risky": "risky"}, "title": "title", "group": "author"} | columns
    return manifest_of_csv(path, Columns(**named), path.parent, division or Division(), name="mine")


def faults_of(path: Path, **columns: Any) -> list[str]:
    with pytest.raises(ManifestError) as raised:
        read(path, **columns)
    return [str(fault) for fault in raised.value.faults]


def test_titles_become_a_manifest_that_is_sound(tmp_path: Path) -> None:
    own = read(write_csv(tmp_path / "mine.csv", titles()))
    manifest = own.manifest
    assert [fault for fault in validate(manifest, check_media=True) if fault.severity == "error"] == []
    task = manifest.task("risky")
    assert (task.kind, task.labels, task.modalities) == (
        TaskKind.BINARY,
        ("not_risky", "risky"),
        (Modality.TEXT,),
    )
    assert sum(row.labels["risky"] == "risky" for row in manifest.rows) == 20
    assert (own.unlabelled, own.joined, own.warnings) == (0, 0, ())


def test_groups_stay_whole_and_every_part_has_its_share_of_each_class(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "mine.csv", titles(240))
    rows = read(path).manifest.rows
    parts = {row.group: row.split for row in rows}
    assert all(parts[row.group] == row.split for row in rows)
    shares = {split: sum(row.split == split for row in rows) / len(rows) for split in ("train", "val", "test")}
    assert shares["val"] == pytest.approx(0.15, abs=0.04)
    assert shares["test"] == pytest.approx(0.2, abs=0.04)
    for split in shares:
        inside = [row for row in rows if row.split == split]
        assert sum(row.labels["risky"] == "risky" for row in inside) / len(inside) == pytest.approx(1 / 3, abs=0.1)
    assert read(path).manifest == read(path).manifest
    assert read(path, Division(seed=1)).manifest != read(path).manifest


def test_folds_instead_of_a_split(tmp_path: Path) -> None:
    manifest = read(write_csv(tmp_path / "mine.csv", titles()), Division(folds=4)).manifest
    assert manifest.folds == 4
    assert {row.fold for row in manifest.rows} == {0, 1, 2, 3}
    assert {row.split for row in manifest.rows} == {None}


def test_the_same_bytes_and_the_same_title_stay_in_one_part(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "first.mp4", seconds=0.3)
    for n in range(40):
        if n in (0, 20):
            shutil.copyfile(clip, tmp_path / f"c{n}.mp4")
        else:
            (tmp_path / f"c{n}.mp4").write_bytes(bytes(300 + n))  # not opened here: only its bytes are compared
    rows = titles(40, path=lambda i: f"c{i}.mp4" if i < 36 else "")
    rows[39]["title"] = rows[38]["title"] = "One and the same!"
    rows[39]["author"] = "somebody else"
    own = read(write_csv(tmp_path / "mine.csv", rows), video="path")
    by_id = {row.id: row for row in own.manifest.rows}
    assert by_id["row1"].group == by_id["row21"].group
    assert by_id["row39"].group == by_id["row40"].group
    assert own.joined == 2
    conflict = [str(w) for w in own.warnings]
    assert conflict == []  # the titles differ, so these rows are not the same example


def test_the_same_example_under_two_labels_is_a_warning(tmp_path: Path) -> None:
    rows = titles()
    rows[5] |= {"title": rows[0]["title"]}
    warnings = [str(w) for w in read(write_csv(tmp_path / "mine.csv", rows)).warnings]
    assert warnings == [
        "warning: mine.csv:7: risky: the same clip and texts as in line 2, but 'not_risky', there 'risky'"
    ]


def test_privileged_columns_views_and_slices_by_name(tmp_path: Path) -> None:
    rows = titles(
        views=lambda i: "" if i == 1 else i * 10,
        likes=lambda i: "NaN" if i == 1 else 0.5,
        country=lambda i: "fr" if i % 2 else "us",
        loud=lambda i: "n/a" if i == 2 else i / 7,
    )
    own = read(
        write_csv(tmp_path / "mine.csv", rows),
        views="views",
        privileged={"engagement": (Feature("views", log=True), Feature("likes"))},
        slices={"country": "country", "loudness": "loud"},
    )
    made = own.manifest.rows
    assert own.manifest.privileged_groups[0].features == ("log1p_views", "likes")
    assert made[2].privileged == {"engagement": {"log1p_views": math.log1p(20), "likes": 0.5}}
    assert made[1].privileged == {}
    assert (made[1].view_count, made[2].view_count) == (None, 20.0)
    assert made[1].slices["country"] == "fr"
    assert "loudness" not in made[2].slices
    assert sorted({row.slices["loudness"].split(",")[0] for row in made if "loudness" in row.slices}) == [
        "high",
        "low",
        "middle",
    ]


@pytest.mark.parametrize(
    ("values", "options", "kind", "labels", "flags"),
    [
        (["1.0", "0"], {}, TaskKind.BINARY, ("not_risky", "risky"), ("risky",)),
        (["True", "False"], {}, TaskKind.BINARY, ("not_risky", "risky"), ("risky",)),
        (["spam", "ham"], {"flags": {"risky": ("spam",)}}, TaskKind.BINARY, ("ham", "spam"), ("spam",)),
        (["gun", "car", "cat"], {"flags": {"risky": ("gun",)}}, TaskKind.MULTICLASS, ("car", "cat", "gun"), ("gun",)),
        (["a|b", "a", "-"], {"multilabel": frozenset({"risky"})}, TaskKind.MULTILABEL, ("a", "b"), ("a", "b")),
    ],
)
def test_the_kind_of_a_task_follows_from_its_values(
    tmp_path: Path,
    values: list[str],
    options: dict[str, Any],
    kind: TaskKind,
    labels: tuple[str, ...],
    flags: tuple[str, ...],
) -> None:
    rows = titles(risky=lambda i: values[i // 4 % len(values)])
    task = read(write_csv(tmp_path / "mine.csv", rows), **options).manifest.task("risky")
    assert (task.kind, task.labels, task.flagged_by) == (kind, labels, flags)


def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    own = read(write_csv(tmp_path / "mine.csv", titles(risky=lambda i: "" if i == 3 else "yes" if i % 3 else "no")))
    assert own.unlabelled == 1
    assert len(own.manifest.rows) == 59


def test_without_a_group_column_every_row_is_its_own_group_and_that_is_said(tmp_path: Path) -> None:
    own = read(write_csv(tmp_path / "mine.csv", titles()), group=None)
    assert len({row.group for row in own.manifest.rows}) == 60
    assert "no --group-column" in str(own.warnings[0])


def test_a_split_column_is_taken_as_it_is(tmp_path: Path) -> None:
    rows = titles(part=lambda i: ("train", "Validation", "test")[i // 4 % 3])
    own = read(write_csv(tmp_path / "mine.csv", rows), split="part")
    assert [row.split for row in own.manifest.rows[:12:4]] == ["train", "val", "test"]
    rows[7]["part"] = "holdout"
    path = write_csv(tmp_path / "mine.csv", rows)
    assert faults_of(path, split="part") == ["error: mine.csv:9: part: 'holdout' is none of train, val, test"]


def test_every_fault_is_told_by_line_and_column(tmp_path: Path) -> None:
    rows = titles(views=1, path="")
    rows[0]["views"] = "many"
    rows[1]["path"] = "gone.mp4"
    rows[2]["path"] = "https://example.org/a.mp4"
    rows[3]["title"] = ""
    rows[4]["author"] = ""
    rows[5]["views"] = -2
    path = write_csv(tmp_path / "mine.csv", rows)
    assert faults_of(path, views="views", video="path") == [
        "error: mine.csv:2: views: 'many' is not a number; leave the cell empty where it is not known",
        f"error: mine.csv:3: path: there is no file 'gone.mp4' under {tmp_path}",
        "error: mine.csv:4: path: 'https://example.org/a.mp4' is a URL: fetch the clips first, and name files",
        "error: mine.csv:5: path, title: neither a clip nor any text",
        "error: mine.csv:6: author: the row has no group",
        "error: mine.csv:7: views: -2 is not a number of at least 0",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mine.csv: is empty"),
        ("title,risky,author\n", "mine.csv: holds no row under its header"),
        ("title,risky\na,yes\n", "mine.csv:1: author: there is no such column; there are: title, risky"),
        ("title;risky;author\na;yes;b\n", "try --delimiter ';'"),
        ("title,risky,author,title\na,yes,b,c\n", "mine.csv:1: title: two columns have this name"),
        ("title,risky,author\na,yes,b\na, b,yes,c\n", "mine.csv:3: 4 cells, but the header has 3"),
        ('title,risky,author\n"two\nlines",yes,b,\n', "mine.csv:2: 4 cells"),
        (
            "title,risky,author\na,yes,b\nb,yes,c\n",
            "risky: task risky: needs two or more values; there is 'yes' (2 rows)",
        ),
        ("title,risky,author\na,good,b\nb,bad,c\n", "which value raises the flag? There are 'good' (1 rows), 'bad'"),
        (
            "title,risky,author\na,yes,b\nb,no,c\n",
            "risky: label 'not_risky' of task risky stands in 1 groups, of which each of 3 parts needs one",
        ),
    ],
)
def test_a_csv_that_cannot_be_read_says_why(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.csv").write_text(text)
    assert any(said in fault for fault in faults_of(tmp_path / "mine.csv"))


def test_a_flag_that_every_value_raises_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("title,risky,author\na,mild,b\nb,graphic,c\n")
    faults = faults_of(tmp_path / "mine.csv", flags={"risky": ("mild", "graphic")})
    assert any("none is left that does not raise the flag" in fault for fault in faults)


def test_what_is_not_utf8_or_not_there_says_so(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_bytes(b"title,risky,author\ncaf\xe9,yes,b\n")
    assert "not UTF-8 at byte" in faults_of(tmp_path / "mine.csv")[0]
    assert "cannot be read: No such file" in faults_of(tmp_path / "none.csv")[0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: pairs("--label", ["risky"]), "--label: 'risky' is not written as name=column"),
        (lambda: pairs("--label", ["a=b", "a=c"]), "'a' is named twice"),
        (lambda: Columns(labels={}), "--label: name at least one task"),
        (lambda: Columns(labels={"a": "b"}), "name the column of the clips"),
        (lambda: Columns(labels={"a": "b"}, title="t", flags={"c": ("d",)}), "--flag: no task 'c'"),
    ],
)
def test_options_that_cannot_be_read_say_how_they_are_written(make: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        make()


def test_options_are_read_as_they_are_written() -> None:
    assert pairs("--slice", ["country", "loudness=db"], same=True) == {"country": "country", "loudness": "db"}
    assert lists("--flag", ["risky=gun, knife"]) == {"risky": ("gun", "knife")}
    assert features(["eng=log:views,likes"]) == {"eng": (Feature("views", log=True), Feature("likes"))}


def test_the_command_writes_the_manifest_and_says_what_is_in_it(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "mine.csv", titles())
    given = ["from-csv", str(path), "--title-column", "title", "--label", "risky=risky", "--group-column", "author"]
    done = CliRunner().invoke(commands.app, [*given, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    manifest = read_manifest(tmp_path / "out")
    assert (told["digest"], told["rows"], told["groups"]) == (manifest.digest(), 60, 15)
    test = told["parts"]["test"]
    assert test["rows"] == sum(row.split == "test" for row in manifest.rows)
    assert test["risky"]["risky"]["groups"] < 5
    assert any("tested rows that raise the flag stand in 1 groups, a verdict needs 5" in s for s in told["no_verdict"])
    card = tmp_path / "out" / "card.yaml"
    assert told["card_words"] == str(card)
    notes = read_notes(card)
    assert notes.tasks["risky"].data.startswith("60 rows in 15 groups. Not written yet")
    card.write_text(card.read_text().replace("Not written yet", "Written"))
    CliRunner().invoke(commands.app, [*given, "--out", str(tmp_path / "out")])
    assert "Not written yet" not in card.read_text()
    bad = CliRunner().invoke(commands.app, [*given, "--out", str(tmp_path / "out"), "--flag", "other=yes"])
    assert bad.exit_code == 2
    assert "no task 'other'" in bad.stderr
