"""T4, ``news_politics``: titles and tags of trending videos, with engagement as privileged features.

The channel's title is never read but as the group, and there only as a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import cast

from contract.decision import Modality, TaskKind, TaskSpec
from recipes.demonstration import engagement
from recipes.demonstration.csv_table import Record, read_records
from recipes.demonstration.titles import title_keys, without_held_out
from training.data.manifest import Manifest, Row, Split

TASK = TaskSpec(
    name="news_politics",
    kind=TaskKind.BINARY,
    labels=("other", "news_politics"),
    modalities=(Modality.TEXT,),
)
_FILE = "trending/trending_unique.csv"
_COLUMNS = (
    *("video_id", "country", "title", "tags", "channel_title", "split", "label_news_politics"),
    *("views", "likes", "dislikes", "comment_count", "ratings_disabled", "label_comments_disabled"),
)
_NO_TAGS = "[none]"


def build(data_dir: Path, *, with_tags: bool = True, held_out: Collection[str] = frozenset()) -> Manifest:
    """The manifest of T4.

    Args:
        data_dir: where the development data lie.
        with_tags: put the author's tags behind the title: ``title | tag, tag``.
        held_out: further keys (``text_key``) of titles that train must not hold.

    Raises:
        ManifestError: the table is missing or faulty.
    """
    records = read_records(data_dir, _FILE, _COLUMNS)
    kept = without_held_out(records, "title", held_out)
    return Manifest(
        name="trending",
        tasks=(TASK,),
        privileged_groups=(engagement.GROUP,),
        media_root=str(data_dir.resolve()),
        rows=tuple(_row(r, with_tags) for r in kept),
    )


def held_out_keys(data_dir: Path) -> set[str]:
    """The keys (``text_key``) of the titles of val and test.

    Raises:
        ManifestError: the table is missing or faulty.
    """
    return title_keys(read_records(data_dir, _FILE, _COLUMNS), "title", ("val", "test"))


def clean_tags(tags: str) -> list[str]:
    """The tags of ``first|"second"|"third"``, without quotes, blanks and repeats; none where there are none."""
    if tags.strip() == _NO_TAGS:
        return []
    cleaned = (" ".join(tag.replace('"', " ").replace("\\n", " ").split()) for tag in tags.split("|"))
    return list(dict.fromkeys(tag for tag in cleaned if tag))


def _title(record: Record, with_tags: bool) -> str:
    title = " ".join(record.text("title").replace("\\n", " ").split())
    tags = clean_tags(record.text("tags")) if with_tags else []
    return f"{title} | {', '.join(tags)}" if tags else title


def _row(record: Record, with_tags: bool) -> Row:
    views, likes, dislikes, comments = (
        record.number_in(name, low=0) for name in ("views", "likes", "dislikes", "comment_count")
    )
    votes_hidden = record.one_of("ratings_disabled", ("True", "False")) == "True"
    comments_off = record.one_of("label_comments_disabled", ("0", "1")) == "1"
    channel = hashlib.sha256(record.text("channel_title").encode()).hexdigest()[:16]
    return Row(
        id=f"{TASK.name}:{record.text('video_id')}",
        texts={"title": _title(record, with_tags)},
        labels={TASK.name: TASK.labels[int(record.one_of("label_news_politics", ("0", "1")))]},
        privileged={
            engagement.GROUP.name: engagement.features(
                views,
                None if votes_hidden else likes,
                None if votes_hidden else dislikes,
                None if comments_off else comments,
            )
        },
        split=cast(Split, record.text("split")),
        group=f"{TASK.name}:{channel}",
        slices={"country": record.text("country")},
        view_count=views,
    )
