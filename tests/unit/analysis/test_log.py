"""From files to arrays: every record once, and only what belongs to the comparison."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from analysis.errors import FeedbackUnreadable, LogNotFound, LogUnreadable, UnclearLabels, UnknownArm, UnknownExperiment
from analysis.log.arms import choose_arms
from analysis.log.database import open_database
from analysis.log.files import find_files, to_arrow
from analysis.log.flag_labels import flag_labels
from analysis.log.label_files import read_label_file
from analysis.log.read import read_rows, task_names
from analysis.log.rows import ExperimentRows
from analysis.question import Question
from contract.decision_log import Decision, Exposure, Feedback, TaskRecord, name_hash
from tests.unit.analysis.written_log import decision_id, exposure, label, verdict, write

HEAD = "time_ms,task,labels,source"


def read(folder: Path, question: Question | None = None, feedback: list[Feedback] | None = None) -> ExperimentRows:
    question = question or Question()
    database, _ = open_database(find_files(folder), feedback or [])
    arms = choose_arms(database, question)
    labels = {task: flag_labels(database, task, arms.experiment) for task in task_names(database, arms.experiment)}
    return read_rows(database, arms, labels, question)


def two_arms() -> list[Any]:
    """Units a and b in the arms, one labelled verdict each."""
    return [
        exposure(1, "baseline", "a"), verdict(1, "baseline", 0.9), label(1, "bad"),
        exposure(2, "student", "b"), verdict(2, "student", 0.2), label(2, "bad", sampled_with=0.25, views=7),
    ]  # fmt: skip


def test_labelled_verdicts_become_rows(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "pod-1.sqlite", two_arms()))
    found = rows.tasks["t"]
    assert found.arm.tolist() == [0, 1]
    assert found.flagged.tolist() == [True, False]
    assert found.positive.tolist() == [True, True]
    assert found.weight.tolist() == [1.0, 4.0]
    assert np.isnan(found.views[0])
    assert found.views[1] == 7
    assert rows.units == 2


def test_a_record_counts_once_in_whatever_files_it_stands(tmp_path: Path) -> None:
    records = two_arms()
    write(tmp_path / "pod-1.sqlite", records)
    write(tmp_path / "more" / "pod-2.sqlite", records[:3])
    for kind in (Exposure, Decision):
        place = tmp_path / kind.table / "date=2026-11-09"
        place.mkdir(parents=True)
        rows = [one.row() for one in records if isinstance(one, kind)]
        pq.write_table(to_arrow(kind, rows, "here"), place / "part.parquet")
    _, repeated = open_database(find_files(tmp_path))
    assert repeated == {"exposures": 3, "decisions": 3, "feedback": 1}
    assert len(read(tmp_path).tasks["t"].unit) == 2


def test_forced_and_held_out_exposures_are_left_out_and_counted(tmp_path: Path) -> None:
    more = [exposure(3, "student", "c", forced=True), verdict(3, "student", 0.9), label(3, "bad"),
            exposure(4, "baseline", "d", holdout=True), verdict(4, "baseline", 0.9)]  # fmt: skip
    rows = read(write(tmp_path / "pod.sqlite", two_arms() + more))
    assert (rows.assignment.forced, rows.assignment.holdout) == (1, 1)
    assert rows.units == 2
    assert len(rows.tasks["t"].unit) == len(rows.requests.unit) == 2


def test_a_unit_that_met_both_arms_is_named_and_left_out(tmp_path: Path) -> None:
    more = [exposure(3, "student", "a"), verdict(3, "student", 0.9)]
    rows = read(write(tmp_path / "pod.sqlite", two_arms() + more))
    assert rows.assignment.crossed == (name_hash("a"),)
    assert len(rows.assignment.order) == 2
    assert rows.tasks["t"].arm.tolist() == [1]


def test_an_exposure_without_a_verdict_is_a_request_that_failed(tmp_path: Path) -> None:
    refused = verdict(4, "student", 0.5, code="corrupt_video", tasks={})
    more = [exposure(3, "student", "c"), exposure(4, "student", "d"), refused]
    requests = read(write(tmp_path / "pod.sqlite", two_arms() + more)).requests
    assert requests.code.tolist() == ["ok", "ok", "no_decision", "corrupt_video"]
    assert requests.ok.tolist() == [True, True, False, False]
    assert np.isnan(requests.latency_ms[2])


def test_shadow_answers_make_pairs_and_no_rows(tmp_path: Path) -> None:
    more = [verdict(1, "student", 0.1, shadow=True), verdict(2, "baseline", 0.8, shadow=True)]
    rows = read(write(tmp_path / "pod.sqlite", two_arms() + more))
    pairs = rows.pairs["t"]
    assert pairs.control.flagged.tolist() == [True, True]
    assert pairs.treatment.flagged.tolist() == [False, False]
    assert pairs.control.arm.tolist() == [0, 1]
    assert len(rows.tasks["t"].unit) == 2


def test_the_label_told_last_holds_and_other_sources_can_be_left_out(tmp_path: Path) -> None:
    more = [label(1, "fine", feedback_id="later", time_ms=99_000, source="appeal")]
    folder = write(tmp_path / "pod.sqlite", two_arms() + more)
    assert read(folder).tasks["t"].positive.tolist() == [False, True]
    assert read(folder, Question(sources=("review",))).tasks["t"].positive.tolist() == [True, True]


def test_a_label_may_name_the_video(tmp_path: Path) -> None:
    records = [one for one in two_arms() if not isinstance(one, Feedback)]
    folder = write(tmp_path / "pod.sqlite", records)
    found = read(folder, feedback=[label(2, "bad", video_hash=name_hash("v2"))])
    assert found.tasks["t"].weight.tolist() == [0.0, 1.0]


def test_the_window_leaves_out_what_is_before_and_after(tmp_path: Path) -> None:
    folder = write(tmp_path / "pod.sqlite", [*two_arms(), exposure(3, "student", "c"), exposure(9, "baseline", "d")])
    assert read(folder, Question(since_ms=2_000, until_ms=9_000, control="baseline", treatment="student")).units == 2
    with pytest.raises(LogUnreadable, match="no exposure between"):
        read(folder, Question(since_ms=50_000))


def test_what_a_unit_did_before_the_experiment_is_its_past(tmp_path: Path) -> None:
    before = [exposure(n, "baseline", "b", experiment="old", time_ms=n) for n in (11, 12)]
    before += [verdict(11, "baseline", 0.2, experiment="old", time_ms=20),
               verdict(12, "baseline", 0.4, experiment="old", time_ms=21)]  # fmt: skip
    during = [exposure(13, "baseline", "a", experiment="old"), verdict(13, "baseline", 0.9, experiment="old")]
    rows = read(write(tmp_path / "pod.sqlite", two_arms() + before + during), Question(experiment="e"))
    assert rows.earlier["t"].tolist() == pytest.approx([np.nan, 0.3], nan_ok=True)


def test_a_task_that_an_arm_cannot_judge_is_counted_apart(tmp_path: Path) -> None:
    records = two_arms()
    task = records[4].tasks["t"].model_copy(update={"supported": False, "flagged": False})
    records[4] = verdict(2, "student", 0.2, tasks={"t": task})
    rows = read(write(tmp_path / "pod.sqlite", records))
    assert rows.unsupported["t"] == (0, 1)
    assert rows.tasks["t"].arm.tolist() == [0]


@pytest.mark.parametrize(
    ("question", "error", "words"),
    [
        (Question(experiment="x"), UnknownExperiment, "--experiment e"),
        (Question(control="x"), UnknownArm, "--control x: the experiment's arms are baseline, student"),
        (Question(control="student", treatment="student"), UnknownArm, "both student"),
        (Question(shares={"baseline": 1.0}), UnknownArm, "one arm|no weight"),
        (Question(shares={"baseline": 1.0, "other": 1.0}), UnknownArm, "no weight to the arm student"),
    ],
)
def test_what_the_log_does_not_hold_is_said(
    tmp_path: Path, question: Question, error: type[Exception], words: str
) -> None:
    folder = write(tmp_path / "pod.sqlite", two_arms())
    with pytest.raises(error, match=words):
        read(folder, question)


def test_a_control_that_no_name_tells_must_be_named(tmp_path: Path) -> None:
    records = [exposure(1, "a", "a"), exposure(2, "b", "b")]
    folder = write(tmp_path / "pod.sqlite", records)
    with pytest.raises(UnknownArm, match="--control a or b"):
        read(folder)
    assert read(folder, Question(control="b")).unit_arm.tolist() == [1, 0]


def test_files_that_are_no_log_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(LogNotFound, match="no such folder"):
        find_files(tmp_path / "missing")
    with pytest.raises(LogNotFound, match="neither"):
        find_files(tmp_path)
    (tmp_path / "bad.sqlite").write_bytes(b"not a database, but long enough to be taken for one" * 40)
    with pytest.raises(LogUnreadable, match=r"bad\.sqlite") as failure:
        open_database(find_files(tmp_path))
    assert "\n" not in str(failure.value)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "old.sqlite")
    database.execute("CREATE TABLE exposures (decision_id TEXT)")
    database.close()
    with pytest.raises(LogUnreadable, match="lacks the column time_ms"):
        open_database(find_files(tmp_path))


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    place = tmp_path / "exposures" / "date=2026-11-09"
    place.mkdir(parents=True)
    (place / "part.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(LogUnreadable, match=r"part\.parquet"):
        open_database(find_files(tmp_path))


def test_tasks_that_are_no_json_are_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "pod.sqlite", two_arms())
    database = sqlite3.connect(folder / "pod.sqlite")
    with database:
        database.execute("UPDATE decisions SET tasks = '{broken'")
    database.close()
    with pytest.raises(LogUnreadable):
        read(folder)


def multi(scores: dict[str, float], flag_score: float) -> TaskRecord:
    label = max(scores, key=lambda name: scores[name])
    return TaskRecord(scores=scores, label=label, flag_score=flag_score, threshold=0.5,
                      flagged=flag_score >= 0.5, supported=True)  # fmt: skip


def labels_of(tmp_path: Path, records: list[TaskRecord], *given: str) -> Any:
    decisions = [verdict(n, "student", 0.5, tasks={"t": one}) for n, one in enumerate(records, start=1)]
    database, _ = open_database(find_files(write(tmp_path / "pod.sqlite", [exposure(1, "student", "a"), *decisions])))
    return flag_labels(database, "t", "e", given)


def test_flag_labels_of_a_multiclass_task_are_those_whose_scores_add_up(tmp_path: Path) -> None:
    rows = [((0.5, 0.3, 0.2), 0.5), ((0.1, 0.2, 0.7), 0.9), ((0.6, 0.1, 0.3), 0.4)]
    found = labels_of(tmp_path, [multi(dict(zip("abc", s, strict=True)), f) for s, f in rows])
    assert (found.labels, found.probability, found.inferred) == (("b", "c"), True, True)


def test_flag_labels_of_a_multilabel_task_are_those_that_came_nearest(tmp_path: Path) -> None:
    rows = [((0.9, 0.3, 0.2), 0.9), ((0.1, 0.8, 0.7), 0.8)]
    found = labels_of(tmp_path, [multi(dict(zip("abc", s, strict=True)), f) for s, f in rows])
    assert (found.labels, found.probability) == (("a", "b"), False)


def test_flag_labels_are_read_off_the_experiments_own_decisions(tmp_path: Path) -> None:
    own, before = multi({"a": 0.5, "b": 0.3, "c": 0.2}, 0.5), multi({"a": 0.1, "b": 0.2, "c": 0.7}, 0.7)
    records = [exposure(1, "student", "a"), verdict(1, "student", 0.5, tasks={"t": own})]
    records.append(verdict(2, "student", 0.5, tasks={"t": before}, experiment="last month"))
    database, _ = open_database(find_files(write(tmp_path / "pod.sqlite", records)))
    assert "c" in flag_labels(database, "t", "last month").labels
    assert flag_labels(database, "t", "e").labels != flag_labels(database, "t", "last month").labels


def test_flag_labels_that_are_not_clear_must_be_given(tmp_path: Path) -> None:
    rows = [multi({"a": 0.5, "b": 0.25, "c": 0.25}, 0.33), multi({"a": 0.2, "b": 0.4, "c": 0.4}, 0.11)]
    with pytest.raises(UnclearLabels, match="--positive t="):
        labels_of(tmp_path / "one", rows)
    assert labels_of(tmp_path / "two", rows, "b").labels == ("b",)
    with pytest.raises(UnclearLabels, match="no label x"):
        labels_of(tmp_path / "three", rows, "x")


def test_label_files_of_three_kinds_say_the_same(tmp_path: Path) -> None:
    row = {"time_ms": 5, "video_id": "v1", "task": "t", "labels": ["bad"], "source": "bulk", "sampled_with": 0.5}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n\n")
    (tmp_path / "a.csv").write_text("time_ms,video_id,task,labels,source,sampled_with,views\n5,v1,t,bad,bulk,0.5,\n")
    lines, table = (read_label_file(tmp_path / name) for name in ("a.jsonl", "a.csv"))
    pq.write_table(to_arrow(Feedback, [lines[0].row()], "here"), tmp_path / "a.parquet")
    assert lines == read_label_file(tmp_path / "a.parquet")
    assert lines[0].video_hash == table[0].video_hash == name_hash("v1")
    assert (table[0].labels, table[0].sampled_with, table[0].views) == (("bad",), 0.5, None)
    assert read_label_file(tmp_path / "a.jsonl")[0].feedback_id == lines[0].feedback_id


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "", r"\.jsonl, \.csv and \.parquet"),
        ("missing.csv", None, "No such file"),
        ("a.jsonl", "{", "line 1: no JSON"),
        ("a.jsonl", "[1]", "line 1: not an object"),
        ("a.csv", f"{HEAD},decision_id,sampled_with\n1,t,bad,s,{'0' * 32},0\n", "line 2: sampled_with"),
        ("a.csv", f"{HEAD}\n1,t,bad,s\n", "must name the video"),
        ("a.csv", f"{HEAD}\n1,t,bad,s,worse\n", "line 2: more cells than the header has: labels are separated by ;"),
        ("a.jsonl", '{"time_ms": 1, "task": "t", "labels": "[x", "source": "s"}', "labels is no JSON"),
    ],
)
def test_a_label_file_with_a_fault_names_the_line(tmp_path: Path, name: str, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(FeedbackUnreadable, match=words):
        read_label_file(tmp_path / name)


def test_a_live_file_in_wal_mode_can_be_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "pod.sqlite", two_arms())
    writer = sqlite3.connect(folder / "pod.sqlite")
    writer.execute("PRAGMA journal_mode=WAL")
    with writer:
        row = exposure(5, "student", "z").row()
        writer.execute(f"INSERT INTO exposures VALUES ({', '.join('?' * len(row))})", row)
    assert read(folder).units == 3
    writer.close()
    assert decision_id(5).endswith("5")
