"""T3, ``clickbait``: video titles, with engagement as privileged features.

The label was given to whole channels, so no column about the channel is read but its id, as the group. Titles that
differ from a held-out one in punctuation, case or a number only are dropped from train.
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
    name="clickbait",
    kind=TaskKind.BINARY,
    labels=("ordinary", "clickbait"),
    modalities=(Modality.TEXT,),
)
_FILE = "clickbait/clickbait.csv"
_COLUMNS = (
    *("video_id", "video_title", "label", "channel_id", "split"),
    *("video_views", "video_likes", "video_dislikes", "video_comments"),
)
_LIKES_EXPECTED_FROM_VIEWS = 1_000
_COMMENTS_EXPECTED_FROM_VIEWS = 10_000
"""The table has no flag for hidden counts: a zero on a page with so many views is read as hidden."""


def build(
    data_dir: Path, *, max_train: int | None = None, seed: int = 0, held_out: Collection[str] = frozenset()
) -> Manifest:
    """The manifest of T3.

    Args:
        data_dir: where the development data lie.
        max_train: keep this many train rows, chosen by a hash of seed and id; None keeps all.
        seed: of that hash.
        held_out: further keys (``text_key``) of titles that train must not hold.

    Raises:
        ManifestError: the table is missing or faulty.
    """
    records = read_records(data_dir, _FILE, _COLUMNS)
    rows = [_row(r) for r in without_held_out(records, "video_title", held_out)]
    if max_train is not None:
        train = sorted((r for r in rows if r.split == "train"), key=lambda row: _rank(seed, row.id))
        kept = {row.id for row in train[:max_train]}
        rows = [row for row in rows if row.split != "train" or row.id in kept]
    return Manifest(
        name="clickbait",
        tasks=(TASK,),
        privileged_groups=(engagement.GROUP,),
        media_root=str(data_dir.resolve()),
        rows=tuple(rows),
    )


def held_out_keys(data_dir: Path) -> set[str]:
    """The keys (``text_key``) of the titles of val and test.

    Raises:
        ManifestError: the table is missing or faulty.
    """
    return title_keys(read_records(data_dir, _FILE, _COLUMNS), "video_title", ("val", "test"))


def _rank(seed: int, row_id: str) -> str:
    return hashlib.sha256(f"{seed}:{row_id}".encode()).hexdigest()


def _row(record: Record) -> Row:
    views, likes, dislikes, comments = (
        record.number_in(f"video_{name}", low=0) for name in ("views", "likes", "dislikes", "comments")
    )
    votes_hidden = likes == dislikes == 0 and views >= _LIKES_EXPECTED_FROM_VIEWS
    comments_hidden = comments == 0 and views >= _COMMENTS_EXPECTED_FROM_VIEWS
    return Row(
        id=f"{TASK.name}:{record.text('video_id')}",
        texts={"title": record.text("video_title")},
        labels={TASK.name: TASK.labels[int(record.one_of("label", ("0", "1")))]},
        privileged={
            engagement.GROUP.name: engagement.features(
                views,
                None if votes_hidden else likes,
                None if votes_hidden else dislikes,
                None if comments_hidden else comments,
            )
        },
        split=cast(Split, record.text("split")),
        group=f"{TASK.name}:{record.text('channel_id')}",
        view_count=views,
    )
