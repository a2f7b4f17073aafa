"""The builders on tables made here, and (where they lie beside the checkout) on the development data."""

from __future__ import annotations

import csv
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from recipes.demonstration import aerial, clickbait, engagement, fights, trending
from recipes.demonstration.csv_table import read_records
from recipes.demonstration.four_tasks import build_default
from training.data.manifest import Manifest, Row, text_key
from training.data.privileged import PrivilegedStatistics
from training.data.validation import ManifestError, validate


def write(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, records[0])
        writer.writeheader()
        writer.writerows(records)


def title_record(n: int, title: str, split: str, **fields: Any) -> dict[str, Any]:
    counts = {"video_views": 100, "video_likes": 9, "video_dislikes": 1, "video_comments": 4}
    return {
        **{"video_id": f"v{n}", "video_title": title, "label": n % 2, "channel_id": f"c{n}", "split": split},
        **counts,
        **{"channel_name": "secret", "channel_subscribers": 7},
        **fields,
    }


def trend_record(n: int, title: str, split: str, **fields: Any) -> dict[str, Any]:
    return {
        **{"video_id": f"t{n}", "country": "FR", "title": title, "tags": 'one|"two"|"one"', "split": split},
        **{"channel_title": f"secret{n}", "label_news_politics": n % 2},
        **{"views": 200, "likes": 30, "dislikes": 10, "comment_count": 5},
        **{"ratings_disabled": False, "label_comments_disabled": 0},
        **fields,
    }


def clip_records(n: int, fold: int) -> tuple[dict[str, Any], dict[str, Any]]:
    file = f"clips/fi{n}.mp4"
    return (
        {"file": file, "label_fight": n % 2, "group": f"g{n}", "fold": fold, "orig_dur_s": 2.1, "bytes": 9},
        {"file": file, "flow_mean": 0.1 * n, "flow_max": 2.0},
    )


def aerial_records(n: int, fold: int, visible: float = 1.0) -> tuple[dict[str, Any], dict[str, Any]]:
    file = f"clips/V_{n}.mp4"
    kind = ("AIRPLANE", "BIRD", "DRONE", "HELICOPTER")[n % 4]
    return (
        {
            "file": file,
            "class": kind,
            "sensor": "V",
            "is_internet": 0,
            "bg_group": f"b{n}",
            "bg_mixed": 1,
            "fold": fold,
        },
        {"file": file, "visible_frac": visible, "speed_mean": 0.01 * visible, "aspect_mean": visible},
    )


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A small copy of the development data's tables."""
    pairs = [clip_records(n, n % 4) for n in range(8)]
    write(tmp_path / "fights/manifest.csv", [a for a, _ in pairs])
    write(tmp_path / "fights/priv_flow_norm20fps.csv", [b for _, b in pairs])
    sound = [
        {"file": a["file"], "aud_present": n % 2, "aud_rms_mean": 0.5, "flow_mean": 1} for n, (a, _) in enumerate(pairs)
    ]
    write(tmp_path / "fights/priv_flow_audio.csv", sound)
    pairs = [aerial_records(n, n % 4, visible=float(n != 5)) for n in range(8)]
    write(tmp_path / "aerial/manifest.csv", [a for a, _ in pairs])
    write(tmp_path / "aerial/priv_track_kinematics.csv", [b for _, b in pairs])
    titles = [
        title_record(0, "Alpha", "train"),
        title_record(1, "Beta part 12!", "train"),
        title_record(2, "Gamma", "train"),
        title_record(3, "Delta Trend", "train"),
        title_record(4, "gamma", "val"),
        title_record(5, "Epsilon", "val"),
        title_record(6, "BETA, part 13", "test"),
        title_record(7, "Epsilon", "test"),
    ]
    write(tmp_path / "clickbait/clickbait.csv", titles)
    trends = [
        trend_record(0, "Zeta", "train"),
        trend_record(1, "Beta (part 1)", "train"),
        trend_record(2, "Eta", "val", tags="[none]"),
        trend_record(3, "Delta trend", "test", ratings_disabled=True, likes=0, dislikes=0),
        trend_record(4, "Theta", "test", label_comments_disabled=1, comment_count=0),
    ]
    write(tmp_path / "trending/trending_unique.csv", trends)
    return tmp_path


def by_id(manifest: Manifest) -> dict[str, Row]:
    return {row.id.split(":")[1]: row for row in manifest.rows}


def test_fights_hold_one_window_and_no_trace_of_the_container(tables: Path) -> None:
    made = fights.build(tables)
    row = by_id(made)["fi3"]
    assert (row.video, row.window_ms, row.fold) == ("fights/clips/fi3.mp4", (0.0, 1900.0), 3)
    assert row.labels == {"violence": "violent"}
    assert row.privileged["flow"]["log_flow_max"] == pytest.approx(math.log(2.0 + 1e-4))
    assert made.privileged_groups[0].features == ("log_flow_mean", "log_flow_max")
    assert made.video_path(row) == tables.resolve() / "fights/clips/fi3.mp4"


def test_audio_is_off_by_default_and_never_says_whether_there_is_sound(tables: Path) -> None:
    assert [g.name for g in fights.build(tables).privileged_groups] == ["flow"]
    made = fights.build(tables, audio=True)
    assert made.privileged_groups[1].features == ("aud_rms_mean",)
    assert [("audio" in row.privileged) for row in made.rows] == [False, True] * 4


def test_aerial_keeps_slices_and_an_unseen_object_has_no_kinematics(tables: Path) -> None:
    rows = by_id(aerial.build(tables))
    assert rows["V_2"].labels == {"restricted_object": "drone"}
    assert rows["V_2"].slices == {"sensor": "V", "bg_mixed": "1", "is_internet": "0"}
    assert rows["V_2"].group == "restricted_object:b2"
    assert rows["V_2"].privileged["track"]["log_speed_mean"] == pytest.approx(math.log(0.01 + 1e-5))
    assert rows["V_5"].privileged["track"] == {"visible_frac": 0.0, "log_speed_mean": None, "aspect_mean": None}


def test_clickbait_drops_titles_that_are_held_out(tables: Path) -> None:
    made = clickbait.build(tables)
    assert {(row.id, row.split) for row in made.rows} == {
        ("clickbait:v0", "train"),
        ("clickbait:v3", "train"),
        ("clickbait:v4", "val"),
        ("clickbait:v6", "test"),
        ("clickbait:v7", "test"),
    }
    barred = clickbait.build(tables, held_out={text_key("alpha 7")})
    assert [row.id for row in barred.rows if row.split == "train"] == ["clickbait:v3"]


def test_no_channel_column_reaches_a_row(tables: Path) -> None:
    for row in (*clickbait.build(tables).rows, *trending.build(tables).rows):
        assert "secret" not in row.model_dump_json()
        assert set(row.privileged) == {"engagement"}
        assert set(row.privileged["engagement"]) == set(engagement.GROUP.features)


def test_a_train_sample_is_drawn_by_seed_and_touches_train_only(tables: Path) -> None:
    drawn = {seed: by_id(clickbait.build(tables, max_train=1, seed=seed)) for seed in range(8)}
    assert all(len(rows) == 4 and {"v4", "v6", "v7"} <= set(rows) for rows in drawn.values())
    assert {("v0" in rows) for rows in drawn.values()} == {True, False}
    assert clickbait.build(tables, max_train=1, seed=3) == clickbait.build(tables, max_train=1, seed=3)
    assert len(clickbait.build(tables, max_train=0).rows) == 3


def test_counts_that_a_page_with_many_views_cannot_have_are_hidden(tables: Path) -> None:
    hidden = {"video_views": 50_000, "video_likes": 0, "video_dislikes": 0, "video_comments": 0}
    few = {**hidden, "video_views": 50}
    write(
        tables / "clickbait/clickbait.csv",
        [title_record(0, "a", "train", **hidden), title_record(1, "b", "train", **few)],
    )
    rows = by_id(clickbait.build(tables))
    assert {k for k, v in rows["v0"].privileged["engagement"].items() if v is not None} == {"log1p_views"}
    assert {k for k, v in rows["v1"].privileged["engagement"].items() if v is None} == {"like_share"}
    assert rows["v0"].view_count == 50_000


def test_trending_puts_tags_behind_the_title(tables: Path) -> None:
    rows = by_id(trending.build(tables))
    assert rows["t0"].texts == {"title": "Zeta | one, two"}
    assert rows["t2"].texts == {"title": "Eta"}
    assert by_id(trending.build(tables, with_tags=False))["t0"].texts == {"title": "Zeta"}
    assert rows["t0"].slices == {"country": "FR"}


def test_trending_reads_its_flags_of_hidden_counts(tables: Path) -> None:
    rows = by_id(trending.build(tables))
    missing = {name: {k for k, v in row.privileged["engagement"].items() if v is None} for name, row in rows.items()}
    assert missing["t0"] == set()
    assert missing["t3"] == {"log1p_likes", "log1p_dislikes", "likes_per_view", "dislikes_per_view", "like_share"}
    assert missing["t4"] == {"log1p_comments", "comments_per_view"}


@pytest.mark.parametrize(
    ("tags", "cleaned"),
    [
        ("[none]", []),
        ("", []),
        ('a|"b c"|" "|"a"', ["a", "b c"]),
        ("x\\ny", ["x y"]),
    ],
)
def test_tags_are_cleaned(tags: str, cleaned: list[str]) -> None:
    assert trending.clean_tags(tags) == cleaned


def test_engagement_is_four_logs_and_four_ratios() -> None:
    values = engagement.features(99.0, 3.0, 1.0, 11.0)
    assert list(values.values()) == pytest.approx(
        [math.log(100), math.log(4), math.log(2), math.log(12), 3 / 99, 1 / 99, 11 / 99, 0.75]
    )
    assert engagement.features(0.0, 0.0, 0.0, 0.0)["likes_per_view"] is None


def test_the_default_manifest_holds_all_four_and_nothing_held_out_twice(tables: Path) -> None:
    made = build_default(tables)
    assert [task.name for task in made.tasks] == ["violence", "restricted_object", "clickbait", "news_politics"]
    assert [group.name for group in made.privileged_groups] == ["flow", "track", "engagement"]
    ids = {row.id for row in made.rows}
    # Delta Trend is held out by T4, Beta by T3: neither may be trained on by the other.
    assert "clickbait:v3" not in ids
    assert "news_politics:t1" not in ids
    assert {"news_politics:t3", "clickbait:v6", "clickbait:v0", "news_politics:t0"} <= ids
    assert len(ids) == len(made.rows)
    assert not {f.column for f in validate(made, check_media=False)} & {"id", "split", "fold", "group", "texts"}


@pytest.mark.parametrize(
    ("file", "column", "value"),
    [
        ("fights/manifest.csv", "label_fight", "2"),
        ("fights/manifest.csv", "fold", "x"),
        ("fights/priv_flow_norm20fps.csv", "flow_mean", "nan"),
        ("aerial/manifest.csv", "class", "KITE"),
        ("aerial/priv_track_kinematics.csv", "speed_mean", ""),
        ("clickbait/clickbait.csv", "video_views", "-1"),
        ("clickbait/clickbait.csv", "split", "dev"),
        ("trending/trending_unique.csv", "ratings_disabled", "maybe"),
    ],
)
def test_a_faulty_field_is_named_by_file_row_and_column(tables: Path, file: str, column: str, value: str) -> None:
    with (tables / file).open(newline="", encoding="utf-8") as handle:
        records = list(csv.DictReader(handle))
    records[0][column] = value
    write(tables / file, records)
    with pytest.raises(ManifestError) as caught:
        build_default(tables)
    (fault,) = caught.value.faults
    assert (fault.file, fault.row, fault.column) == (file, 1, column)


def test_a_clip_without_its_privileged_row_is_named(tables: Path) -> None:
    write(tables / "fights/priv_flow_norm20fps.csv", [clip_records(0, 0)[1]])
    with pytest.raises(ManifestError, match=r"fights/manifest\.csv:2: file"):
        fights.build(tables)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("a\n1\n", "b: no such column"), ("a,b\n", "no record"), ("a,b\n1\n", ":1: another")],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "t.csv").write_text(content)
    with pytest.raises(ManifestError, match=message):
        read_records(tmp_path, "t.csv", ("a", "b"))


@pytest.fixture(scope="module")
def development_data() -> Path:
    directory = Path(__file__).resolve().parents[4] / "shared" / "data"
    if not (directory / "README.md").is_file():
        pytest.skip("the development data do not lie beside the checkout")
    return directory


@pytest.fixture(scope="module")
def default(development_data: Path) -> Manifest:
    return build_default(development_data, max_clickbait_train=4000, seed=1)


@pytest.mark.shared_data
def test_real_tables_have_the_rows_they_should(default: Manifest) -> None:
    counts = Counter((row.id.split(":")[0], row.split) for row in default.rows)
    assert counts == {
        ("violence", None): 216,
        ("restricted_object", None): 528,
        ("clickbait", "train"): 4000,
        ("clickbait", "val"): 4670,  # 19 of 4689 also stand in test
        ("clickbait", "test"): 3224,
        ("news_politics", "train"): 2288,
        ("news_politics", "val"): 468,
        ("news_politics", "test"): 531,
    }


@pytest.mark.shared_data
def test_real_tables_have_no_fault_but_three_short_clips(default: Manifest) -> None:
    faults = validate(default, check_media=True)
    assert [(f.column, f.severity) for f in faults] == [("window_ms", "warning")] * 3


@pytest.mark.shared_data
def test_real_privileged_features_are_spread_and_rarely_clipped(default: Manifest) -> None:
    for test_fold in range(default.folds):
        parts = default.split_rows(test_fold)
        fitted = PrivilegedStatistics.fit(parts["train"], default.privileged_groups)
        for group in fitted.groups:
            assert min(group.stds) > 0, group.name
        for values, presence in fitted.transform(parts["test"]).values():
            assert (abs(values) >= 5).sum() < 0.01 * presence.sum()
