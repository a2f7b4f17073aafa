"""T1 to T5 -> the manifest of the five-task benchmark, cross-validated throughout.

Every row is tested once: clips by source video or background, titles by channel, in as many folds. The default
manifest (``four_tasks``) keeps the fixed splits of T3 and T4, whose test part holds 16 channels only; intervals
count channels, so here all of them are dealt to folds.
"""

from __future__ import annotations

from pathlib import Path

from recipes.demonstration import aerial, clickbait, fights, sensational, trending
from recipes.demonstration.channel_folds import in_channel_folds
from training.data.manifest import Manifest, PrivilegedGroup, text_key

NAME = "five_tasks"
TITLES_PER_CHANNEL = 40
TITLES_PER_CLIP = 2


def build_five_tasks(
    data_dir: Path,
    *,
    titles_per_channel: int = TITLES_PER_CHANNEL,
    titles_per_clip: int = TITLES_PER_CLIP,
    seed: int = 0,
) -> Manifest:
    """The five tasks as one manifest; paths are relative to ``data_dir``.

    Args:
        data_dir: where the development data lie.
        titles_per_channel: of T3; its labels were given to channels, so more titles of one say little more.
        titles_per_clip: of T5.
        seed: of the choice of titles, the folds and the pairing.

    Raises:
        ManifestError: a table is missing or faulty.
        ValueError: too few titles for T5.
    """
    clips, aerials = fights.build(data_dir), aerial.build(data_dir)
    trends, titles = trending.build(data_dir), clickbait.build(data_dir)
    trend_keys = {text_key(row.texts["title"].partition(" | ")[0]) for row in trends.rows}
    news_rows = in_channel_folds(
        trends.rows, fights.FOLDS, positive=lambda row: row.labels[trending.TASK.name] == "news_politics", seed=seed
    )
    title_rows = in_channel_folds(
        titles.rows,
        fights.FOLDS,
        positive=lambda row: row.labels[clickbait.TASK.name] == "clickbait",
        seed=seed,
        max_per_channel=titles_per_channel,
        barred=trend_keys,
    )
    composed = sensational.compose(clips.rows, title_rows, titles_per_clip=titles_per_clip, seed=seed)
    groups: dict[str, PrivilegedGroup] = {}
    for part in (clips, aerials, titles, trends):
        groups |= {group.name: group for group in part.privileged_groups}
    return Manifest(
        name=NAME,
        tasks=(*clips.tasks, *aerials.tasks, *titles.tasks, *trends.tasks, sensational.TASK),
        privileged_groups=tuple(groups.values()),
        folds=fights.FOLDS,
        media_root=str(data_dir.resolve()),
        rows=(*clips.rows, *aerials.rows, *title_rows, *news_rows, *composed),
    )
