"""The drill of the decision log: what is sent, and how verdicts are held against the log."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.experiment.drill import Run, accounted, chosen, rows_of, table, tamper, write_texts
from tests.unit.benchmarks.test_held_out import row


def test_there_are_enough_rows_each_under_an_id_of_its_own() -> None:
    titles = [row(f"t{i}", texts={"title": "a"}) for i in range(4)]
    manifest: Any = SimpleNamespace(rows=[row("c", video="c.mp4", fold=0), *titles])
    found = rows_of(manifest, 0, 12)
    assert len({one.id for one in found}) == 12
    assert [one.id for one in found[:6]] == ["c", "t0", "t1", "t2", "t3", "c-1"]


def write_log(folder: Path, *decisions: tuple[str, int, str]) -> None:
    folder.mkdir()
    with sqlite3.connect(folder / "pod.sqlite") as base:
        base.execute("CREATE TABLE decisions (decision_id TEXT, shadow INTEGER, code TEXT)")
        base.executemany("INSERT INTO decisions VALUES (?, ?, ?)", decisions)


def test_every_verdict_is_looked_for_and_shadows_and_refusals_are_none(tmp_path: Path) -> None:
    write_log(
        tmp_path / "log",
        ("once", 0, "ok"),
        ("once", 1, "ok"),
        ("twice", 0, "ok"),
        ("twice", 0, "ok"),
        ("cut off", 0, "ok"),
        ("refused", 0, "overloaded"),
    )
    done = Run(answered=[(row(name), {"decision_id": name}) for name in ("once", "twice", "nowhere")])
    assert accounted(done, tmp_path / "log") == {
        "verdicts_given": 3,
        "given_and_logged_once": 1,
        "given_and_not_logged": 1,
        "logged_more_than_once": 1,
        "logged_and_never_read": 1,
        "shadows": 1,
    }


def test_texts_are_written_beside_the_digest_of_their_clip(tmp_path: Path) -> None:
    (tmp_path / "c.mp4").write_bytes(b"media")
    manifest: Any = SimpleNamespace(video_path=lambda one: tmp_path / one.video)
    rows = [row("t", texts={"title": "a"}), row("t-1", texts={"title": "a"}), row("c", video="c.mp4", fold=0)]
    write_texts(rows, manifest, tmp_path / "texts.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "texts.jsonl").read_text().splitlines()]
    assert lines == [{"media": None, "title": "a"}, {"media": hashlib.sha256(b"media").hexdigest()}]


def test_the_table_shows_what_was_not_in_order() -> None:
    log = dict.fromkeys(
        ("verdicts_given", "given_and_logged_once", "logged_more_than_once", "logged_and_never_read"), 1
    )
    found = {
        "requests": 3,
        "refused": {"lost": 2},
        "events": {"killed": 1},
        "log": log | {"given_and_not_logged": 7, "shadows": 0},
        "labels": 0,
        "page": "Wait.",
        "replay": {"decisions": 2, "outcomes": {"exact": 2}, "worst_gap": 0.0},
        "tampered": {"outcomes": {"media_altered": 1}},
    }
    page = table(found)
    assert "| read and not in the log | 7 |" in page
    assert "| refused or lost, and sent again | 2 lost |" in page
    assert "| the service was killed | after 1 verdicts |" in page
    assert "media_altered" in page


def test_most_of_what_is_replayed_are_clips() -> None:
    clips = [(row(f"c{i}", video="c.mp4", fold=0), {"decision_id": f"c{i}"}) for i in range(5)]
    titles = [(row(f"t{i}", texts={"title": "a"}), {"decision_id": f"t{i}"}) for i in range(5)]
    done = Run(answered=[*titles, *clips])
    assert chosen(done, 4) == ["c0", "c1", "c2", "t0"]
    assert chosen(Run(answered=[*titles, clips[0]]), 4) == ["c0", "t0", "t1", "t2"]


def test_all_copies_of_a_clip_are_tampered_with_or_none(tmp_path: Path) -> None:
    for number in range(40):
        for copy in ("", "-1"):
            (tmp_path / f"{number}{copy}.mp4").write_bytes(b"clip %d" % number)
    tamper(tmp_path)
    changed = {
        file.stem for file in tmp_path.iterdir() if file.read_bytes() != b"clip " + file.stem.partition("-")[0].encode()
    }
    assert 0 < len(changed) < 30
    assert {name.partition("-")[0] for name in changed} == {name for name in changed if "-" not in name}
    assert len(changed) % 2 == 0
