"""The composite task and the cross-validated five-task manifest, on rows made here and on the development data."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from recipes.demonstration import clickbait, fights, sensational
from recipes.demonstration.channel_folds import in_channel_folds
from recipes.demonstration.five_tasks import build_five_tasks
from training.data.manifest import Row, text_key
from training.data.validation import validate

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def clip(n: int, fold: int, violent: bool) -> Row:
    return Row(
        id=f"violence:fi{n}",
        video=f"fights/fi{n}.mp4",
        labels={"violence": "violent" if violent else "non_violent"},
        privileged={"flow": {"log_flow": float(n)}},
        fold=fold,
        group=f"violence:g{n}",
    )


def title(n: int, channel: int, *, bait: bool, text: str | None = None, fold: int | None = None) -> Row:
    return Row(
        id=f"clickbait:v{n}",
        texts={"title": text or f"title {'abcdefghij'[n % 10]}{'klmnopqrst'[n // 10]}"},
        labels={"clickbait": "clickbait" if bait else "ordinary"},
        privileged={"engagement": {"log1p_views": float(n)}},
        split=None if fold is not None else "train",
        fold=fold,
        group=f"clickbait:c{channel}",
        view_count=float(n),
    )


def is_bait(row: Row) -> bool:
    return row.labels["clickbait"] == "clickbait"


def test_channels_are_dealt_whole_and_evenly() -> None:
    rows = [title(n, n // 4, bait=(n // 4) % 2 == 0) for n in range(96)]
    dealt = in_channel_folds(rows, 4, positive=is_bait)
    assert {row.id for row in dealt} == {row.id for row in rows}
    by_channel = defaultdict(set)
    for row in dealt:
        by_channel[row.group].add(row.fold)
    assert all(len(folds) == 1 for folds in by_channel.values())
    assert set(Counter((row.fold, is_bait(row)) for row in dealt).values()) == {12}


def test_a_title_of_two_channels_is_kept_once_and_a_barred_one_not_at_all() -> None:
    rows = [
        title(1, 1, bait=True, text="Top 10 places!"),
        title(2, 2, bait=False, text="top 7 PLACES"),
        title(3, 3, bait=False, text="elsewhere"),
    ]
    dealt = in_channel_folds(rows, 3, positive=is_bait, barred={text_key("Elsewhere")})
    assert len(dealt) == 1
    assert dealt[0].id in {"clickbait:v1", "clickbait:v2"}


def test_a_channel_keeps_its_first_titles_by_hash_alone() -> None:
    rows = [title(n, 0, bait=True) for n in range(30)]
    kept = {row.id for row in in_channel_folds(rows, 3, positive=is_bait, max_per_channel=5)}
    flipped = [row.model_copy(update={"labels": {"clickbait": "ordinary"}}) for row in reversed(rows)]
    assert len(kept) == 5
    assert kept == {row.id for row in in_channel_folds(flipped, 3, positive=is_bait, max_per_channel=5)}


def test_the_composite_is_positive_where_both_halves_are() -> None:
    clips = [clip(n, n % 4, violent=n < 6) for n in range(12)]
    titles = [title(n, n, bait=n % 3 == 0, fold=n % 4) for n in range(40)]
    rows = sensational.compose(clips, titles, titles_per_clip=2)
    halves = {row.id: row for row in (*clips, *titles)}
    assert len(rows) == 24
    for row in rows:
        _, clip_id, title_id = row.id.split(":")
        one, other = halves[f"violence:{clip_id}"], halves[f"clickbait:{title_id}"]
        assert row.fold == one.fold == other.fold
        assert row.privileged == {**one.privileged, **other.privileged}
        both = one.labels["violence"] == "violent" and is_bait(other)
        assert row.labels == {"sensational_violence": "sensational_violence" if both else "other"}
    assert len({row.id.split(":")[2] for row in rows}) == 24, "no title twice"


def test_the_pairing_knows_no_label() -> None:
    clips = [clip(n, n % 4, violent=n < 6) for n in range(12)]
    titles = [title(n, n, bait=n % 3 == 0, fold=n % 4) for n in range(40)]
    other_clips = [row.model_copy(update={"labels": {"violence": "violent"}}) for row in reversed(clips)]
    other_titles = [row.model_copy(update={"labels": {"clickbait": "ordinary"}}) for row in reversed(titles)]
    pairs = {row.id for row in sensational.compose(clips, titles, titles_per_clip=2)}
    assert pairs == {row.id for row in sensational.compose(other_clips, other_titles, titles_per_clip=2)}


def test_too_few_titles_are_refused() -> None:
    with pytest.raises(ValueError, match="fold 0 has 1 titles for 1 clips"):
        sensational.compose([clip(0, 0, violent=True)], [title(0, 0, bait=True, fold=0)], titles_per_clip=2)


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the development data beside the checkout")
def test_five_tasks_of_the_development_data() -> None:
    manifest = build_five_tasks(SHARED)
    assert not validate(manifest, check_media=False)
    assert [t.name for t in manifest.tasks][-1] == sensational.TASK.name
    assert all(row.fold is not None for row in manifest.rows)
    titles: dict[str, set[int | None]] = defaultdict(set)
    for row in manifest.rows:
        if clickbait.TASK.name in row.labels or sensational.TASK.name in row.labels:
            titles[text_key(row.texts["title"])].add(row.fold)
    assert all(len(folds) == 1 for key, folds in titles.items() if key), "a title straddles folds"
    for task in manifest.tasks:
        rows = [row for row in manifest.rows if task.name in row.labels]
        assert {row.fold for row in rows} == set(range(fights.FOLDS))
