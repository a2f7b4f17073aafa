"""The example of an experiment: what is sent, what is told afterwards, what is counted."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.experiment.held_out import held_out, labels_of, logged, request_of
from training.data.manifest import Row


def row(name: str, **fields: Any) -> Row:
    return Row.model_validate({"id": name, "group": "g", "split": "test", "labels": {"news": "yes"}, **fields})


def test_clips_of_the_fold_and_titles_of_the_test_split_are_held_out() -> None:
    clips = [row(f"c{fold}", video="c.mp4", fold=fold) for fold in (0, 1)]
    titles = [row(f"t{i}", texts={"title": "a"}) for i in range(10)] + [row("no", texts={"title": "a"}, split="train")]
    manifest: Any = SimpleNamespace(rows=[*clips, *titles])
    assert [one.id for one in held_out(manifest, 1, 5)] == ["c1", "t0", "t2", "t4", "t6", "t8"]


def test_a_form_holds_the_rows_name_its_texts_and_its_clip(tmp_path: Path) -> None:
    (tmp_path / "c.mp4").write_bytes(b"media")
    manifest: Any = SimpleNamespace(video_path=lambda one: tmp_path / one.video)
    body, kind = request_of(row("c", video="c.mp4", fold=0, texts={"title": "hello", "overlay_text": ""}), manifest)
    assert kind.endswith("boundary=held-out-row")
    assert body.count(b"--held-out-row") == 4
    assert b'name="video_id"\r\n\r\nc\r\n' in body
    assert b'name="title"\r\n\r\nhello\r\n' in body
    assert b"\r\n\r\nmedia\r\n" in body


def test_labels_are_told_of_verdicts_alone_with_their_chance() -> None:
    verdict = {"decision_id": "d", "tasks": {"news": {"supported": True}, "clips": {"supported": False}}}
    labelled = row("a", view_count=7.0, labels={"news": "yes", "clips": "x"})
    answered = [(labelled, verdict), (row("b", labels={}), verdict), (row("c"), {"code": "overloaded"})]
    (label,) = labels_of(answered)
    assert label["feedback_id"] == "a"
    assert label["decision_id"] == "d"
    assert (label["task"], label["labels"], label["views"], label["sampled_with"]) == ("news", ["yes"], 7, 0.5)


def test_what_is_logged_is_counted_over_files(tmp_path: Path) -> None:
    for number, shadows in enumerate(((0, 0, 1), (1, 0))):
        with sqlite3.connect(tmp_path / f"pod-{number}.sqlite") as base:
            base.execute("CREATE TABLE decisions (shadow INTEGER)")
            base.executemany("INSERT INTO decisions VALUES (?)", [(shadow,) for shadow in shadows])
    assert logged(tmp_path) == Counter(own=3, shadow=2)
