from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from contract.decision import TaskKind, TaskSpec
from training.data.manifest import Manifest, PrivilegedGroup, Row
from training.data.synthetic import generate
from training.data.validation import Fault, ManifestError, check, require_classes, require_sound, validate

RISKY = TaskSpec(name="risky", kind=TaskKind.BINARY, labels=("no", "yes"))
TOPICS = TaskSpec(name="topics", kind=TaskKind.MULTILABEL, labels=("a", "b"))
FLOW = PrivilegedGroup(name="flow", features=("speed",))


def sound_rows() -> list[Row]:
    rows = []
    for n, split in enumerate(("train", "val", "test")):
        for label in RISKY.labels:
            number = len(rows)
            rows.append(
                Row(
                    id=f"{split}-{label}",
                    texts={"title": "abcdefgh"[: number + 1]},
                    labels={"risky": label, "topics": ["a", "b"]},
                    privileged={"flow": {"speed": float(number)}},
                    split=split,  # type: ignore[arg-type]
                    group=f"g{n}",
                )
            )
    return rows


def faults_with(**changes: Any) -> list[Fault]:
    """The faults of a sound manifest in which the third row was changed."""
    rows = sound_rows()
    rows[2] = rows[2].model_copy(update=changes)
    return validate(manifest(rows), check_media=False)


def manifest(rows: list[Row]) -> Manifest:
    return Manifest(name="m", tasks=(RISKY, TOPICS), privileged_groups=(FLOW,), rows=tuple(rows))


def test_a_sound_manifest_has_no_fault() -> None:
    assert validate(manifest(sound_rows()), check_media=True) == []


@pytest.mark.parametrize(
    ("changes", "column", "message"),
    [
        ({"id": "train-no"}, "id", "row 1"),
        ({"labels": {"risky": "maybe"}}, "labels.risky", "'maybe' is a label outside the set no, yes"),
        ({"labels": {"topics": ["a", "z"]}}, "labels.topics", "'z' is a label outside the set"),
        ({"labels": {"risky": ["no"]}}, "labels.risky", "list"),
        ({"labels": {"topics": "a"}}, "labels.topics", "list"),
        ({"labels": {"topics": ["a", "a"]}}, "labels.topics", "twice"),
        ({"labels": {"other": "no"}}, "labels.other", "unknown task"),
        ({"view_count": -5.0}, "view_count", "at least 0"),
        ({"view_count": float("nan")}, "view_count", "finite"),
        ({"view_count": float("inf")}, "view_count", "finite"),
        ({"texts": {"title": "x", "caption": "x"}}, "texts.caption", "unknown text field"),
        ({"texts": {"title": "  "}}, "video", "neither"),
        ({"privileged": {"sound": {"speed": 1.0}}}, "privileged.sound", "unknown privileged group"),
        ({"privileged": {"flow": {"colour": 1.0}}}, "privileged.flow.colour", "unknown privileged feature"),
        ({"privileged": {"flow": {"speed": float("nan")}}}, "privileged.flow.speed", "finite"),
        ({"privileged": {"flow": {"speed": float("inf")}}}, "privileged.flow.speed", "finite"),
        ({"split": None}, "split", "neither"),
        ({"fold": 1}, "split", "both"),
        ({"split": None, "fold": 4}, "fold", "not in"),
        ({"group": "g0"}, "group", "row 1"),
        ({"window_ms": (0.0, 1.0)}, "window_ms", "without a video"),
        ({"video": "a.mp4", "window_ms": (5.0, 5.0)}, "window_ms", "start < end"),
    ],
)
def test_each_fault_is_named_by_row_and_column(changes: dict[str, Any], column: str, message: str) -> None:
    errors = [f for f in faults_with(**changes) if f.severity == "error" and f.column == column]
    assert [f.row for f in errors] == [3]
    assert errors[0].file == "rows.jsonl"
    assert message in errors[0].message


def test_a_train_split_of_one_class_is_an_error_and_a_val_split_a_warning() -> None:
    rows = sound_rows()
    rows[0] = rows[0].model_copy(update={"labels": {**rows[0].labels, "risky": "yes"}})
    rows[2] = rows[2].model_copy(update={"labels": {**rows[2].labels, "risky": "yes"}})
    found = {(f.message, f.severity) for f in validate(manifest(rows), check_media=False)}
    assert found == {("split train holds one class only", "error"), ("split val holds one class only", "warning")}


def test_a_label_that_never_occurs_and_a_task_without_labels_are_told() -> None:
    rows = [r.model_copy(update={"labels": {"topics": ["a"]}}) for r in sound_rows()]
    found = [(f.column, f.severity) for f in validate(manifest(rows), check_media=False)]
    assert ("labels.risky", "error") in found
    rows = [r.model_copy(update={"labels": {**r.labels, "topics": []}}) for r in sound_rows()]
    assert ("labels.topics", "warning") in [(f.column, f.severity) for f in validate(manifest(rows), check_media=False)]


@pytest.mark.parametrize("values", [{"flow": {"speed": 2.0}}, {}])
def test_a_constant_privileged_feature_is_a_warning(values: dict[str, dict[str, float | None]]) -> None:
    rows = [r.model_copy(update={"privileged": values}) for r in sound_rows()]
    (fault,) = validate(manifest(rows), check_media=False)
    assert (fault.column, fault.severity) == ("privileged.flow.speed", "warning")


def test_a_group_that_straddles_folds_is_an_error() -> None:
    rows = sound_rows() + [Row(id=f"f{n}", texts={"title": f"{'xyz'[n]}"}, fold=n % 2, group="scene") for n in range(3)]
    folded = manifest(rows).model_copy(update={"folds": 4})
    assert [(f.row, f.column) for f in validate(folded, check_media=False)] == [(8, "group")]


def test_the_same_title_in_two_splits_is_a_warning() -> None:
    (fault,) = faults_with(texts={"title": "A! 7"})
    assert (fault.row, fault.column, fault.severity) == (3, "texts", "warning")


@pytest.mark.parametrize(
    ("fourth", "column"),
    [
        ({"video": "a.mp4", "window_ms": (5.0, 9.0), "texts": {}}, "video"),
        ({"video": "b.mp4", "texts": {"title": "A?"}}, "texts"),
        ({"video": "b.mp4", "texts": {"title": "of the first clip"}}, None),
    ],
)
def test_a_clip_in_other_windows_and_a_title_under_another_clip_are_the_same_content(
    fourth: dict[str, Any], column: str | None
) -> None:
    rows = sound_rows()
    shown = {"video": "a.mp4", "window_ms": (0.0, 4.0), "texts": {"title": "of the first clip"}}
    rows[1], rows[3] = rows[1].model_copy(update=shown), rows[3].model_copy(update=fourth)
    faults = validate(manifest(rows), check_media=False)
    expected = [] if column is None else [(4, column, "warning")]
    assert [(f.row, f.column, f.severity) for f in faults] == expected


def test_no_message_holds_the_text_of_a_row() -> None:
    secret = "zebra"
    label = 50 * "-" + secret  # a text in the place of a label: its beginning alone is shown
    rows = [
        r.model_copy(update={"texts": {"title": secret, "x": secret}, "labels": {"risky": label}}) for r in sound_rows()
    ]
    faults = validate(manifest(rows), check_media=False)
    assert faults
    assert not any(secret in str(f) for f in faults)


def test_clips_are_opened_on_demand(tmp_path: Path) -> None:
    made = generate(tmp_path, clips=16, titles=48)
    assert [f for f in validate(made, check_media=True) if f.column == "video"] == []
    clips = sorted((tmp_path / "clips").iterdir())
    clips[0].unlink()
    clips[1].write_bytes(b"no clip at all")
    rows = list(made.rows)
    rows[2] = rows[2].model_copy(update={"window_ms": (0.0, 60_000.0)})
    rows[3] = rows[3].model_copy(update={"window_ms": (50_000.0, 60_000.0)})
    shutil.copy(clips[2], clips[4])
    spoilt = made.model_copy(update={"rows": tuple(rows)})
    found = [
        (f.row, f.column, f.severity) for f in validate(spoilt, check_media=True) if f.column in ("video", "window_ms")
    ]
    assert found == [
        (1, "video", "error"),
        (2, "video", "warning"),
        (3, "window_ms", "warning"),
        (4, "window_ms", "error"),
        (None, "video", "warning"),
    ]
    assert "unsupported_media 1" in validate(spoilt, check_media=True)[-1].message
    (missing,) = [f.message for f in validate(spoilt, check_media=True) if (f.row, f.column) == (1, "video")]
    assert missing == f"{made.rows[0].video!r}: no such file under the media root"


def test_check_raises_on_errors_and_returns_warnings() -> None:
    assert [f.severity for f in check(manifest(_with_constant()), check_media=False)] == ["warning"]
    rows = sound_rows()
    twice = manifest([*rows, rows[0]]).model_copy(update={"rows_file": "rows.parquet"})
    with pytest.raises(ManifestError, match="row 1") as caught:
        check(twice, check_media=False)
    assert caught.value.faults[0].file == "rows.parquet"


def _with_constant() -> list[Row]:
    return [r.model_copy(update={"privileged": {"flow": {"speed": 1.0}}}) for r in sound_rows()]


def test_a_long_list_of_faults_is_cut_in_the_message_only() -> None:
    error = ManifestError(Fault("f", n, "id", "wrong") for n in range(30))
    assert len(error.faults) == 30
    assert str(error).endswith("... and 10 more")


def test_a_split_that_is_needed_and_empty_is_an_error() -> None:
    rows = [row for row in sound_rows() if row.split != "val"]
    found = {(f.column, f.message, f.severity) for f in validate(manifest(rows), check_media=False)}
    for task in ("risky", "topics"):
        assert (f"labels.{task}", "split val holds no labelled row: it is needed", "error") in found


def test_folds_that_no_row_has_are_an_error() -> None:
    (fault,) = validate(manifest(sound_rows()).model_copy(update={"folds": 4}), check_media=False)
    assert (fault.column, fault.severity) == ("folds", "error")


def test_a_fold_without_rows_of_a_task_is_an_error(tmp_path: Path) -> None:
    made = generate(tmp_path, clips=24, titles=36, seed=0)
    emptied = [
        row.model_copy(update={"labels": {k: v for k, v in row.labels.items() if k != "shape" or row.fold != 2}})
        for row in made.rows
    ]
    found = validate(made.model_copy(update={"rows": tuple(emptied)}), check_media=False)
    assert ("labels.shape", "fold 2 holds no labelled row: it is needed") in {(f.column, f.message) for f in found}


def test_a_part_of_a_trial_that_holds_one_class_is_named(caplog: pytest.LogCaptureFixture) -> None:
    rows = sound_rows()
    require_classes(manifest(rows), [None])
    assert caplog.messages == []
    held_out = [r for r in rows if r.id != "val-yes"]
    require_classes(manifest(held_out), [None])
    (said,) = caplog.messages
    assert said == "warning: m: labels.risky: the 1 val rows hold one class of the flag only: no"
    with pytest.raises(ManifestError, match=r"error: m: labels\.risky: the 1 train rows .* only: yes"):
        require_classes(manifest([r for r in rows if r.id != "train-no"]), [None])


def test_folds_of_one_class_each_can_be_trained_on_together(caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        Row(id=f"{n}", texts={"title": "x"}, labels={"risky": RISKY.labels[n % 2]}, fold=n, group=f"g{n}")
        for n in range(4)
    ]
    folded = manifest(rows).model_copy(update={"folds": 4})
    require_classes(folded, [0, 0])
    assert ["val rows" in said or "test rows" in said for said in caplog.messages] == [True, True]
    assert all("trial tested on fold 0" in said for said in caplog.messages)


def test_a_label_that_no_multilabel_row_has_is_named_where_one_other_occurs() -> None:
    rows = [row.model_copy(update={"labels": row.labels | {"topics": ["a"]}}) for row in sound_rows()]
    told = [str(fault) for fault in validate(manifest(rows), check_media=False)]
    assert [line for line in told if "holds no row of b" in line]


def test_a_missing_clip_stops_training_by_row_unless_shards_hold_it(tmp_path: Path) -> None:
    toy = generate(tmp_path, clips=16, titles=12)
    require_sound(toy)
    number, row = next((n, row) for n, row in enumerate(toy.rows, start=1) if row.video is not None)
    path = toy.video_path(row)
    assert path is not None
    path.unlink()
    with pytest.raises(ManifestError, match="no such file") as caught:
        require_sound(toy)
    assert [fault.row for fault in caught.value.faults] == [number]
    require_sound(toy, clips_at_hand=False)
