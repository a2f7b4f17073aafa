"""T5, ``sensational_violence``: a violent clip under a clickbait title. A composite: real parts, a composed label.

No public set in reach holds a clip with its own title, engagement and label. So clips of T1 meet titles of T3 of the
same fold, drawn by a hash that knows neither label; the label is violence and clickbait, and the teacher reads the
flow of the one and the engagement of the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from contract.decision import Modality, TaskKind, TaskSpec
from recipes.demonstration import clickbait, fights
from recipes.demonstration.channel_folds import rank
from training.data.manifest import Row

TASK = TaskSpec(
    name="sensational_violence",
    kind=TaskKind.BINARY,
    labels=("other", "sensational_violence"),
    modalities=(Modality.VIDEO, Modality.TEXT),
)


def compose(clips: Sequence[Row], titles: Sequence[Row], *, titles_per_clip: int, seed: int = 0) -> list[Row]:
    """Rows of T5: every clip of T1 under so many titles of T3 of its own fold; no title is used twice.

    Args:
        clips: rows of T1, with folds.
        titles: rows of T3, with folds; their channels do not straddle folds.
        titles_per_clip: at least 1.
        seed: of the pairing.

    Raises:
        ValueError: a fold has too few titles.
    """
    rows: list[Row] = []
    for fold in sorted({clip.fold for clip in clips if clip.fold is not None}):
        inside = sorted((c for c in clips if c.fold == fold), key=lambda row: rank(seed, f"clip {row.id}"))
        drawn = sorted((t for t in titles if t.fold == fold), key=lambda row: rank(seed, f"title {row.id}"))
        if len(drawn) < titles_per_clip * len(inside):
            raise ValueError(f"fold {fold} has {len(drawn)} titles for {len(inside)} clips, {titles_per_clip} for each")
        step = len(inside)
        rows += [_row(c, drawn[n + k * step]) for n, c in enumerate(inside) for k in range(titles_per_clip)]
    return rows


def _row(clip: Row, title: Row) -> Row:
    both = clip.labels[fights.TASK.name] == "violent" and title.labels[clickbait.TASK.name] == "clickbait"
    source, title_id = clip.id.partition(":")[2], title.id.partition(":")[2]
    return Row(
        id=f"{TASK.name}:{source}:{title_id}",
        video=clip.video,
        window_ms=clip.window_ms,
        texts=title.texts,
        labels={TASK.name: TASK.labels[int(both)]},
        privileged={**clip.privileged, **title.privileged},
        fold=clip.fold,
        group=f"{TASK.name}:{clip.group.partition(':')[2]}",
        view_count=title.view_count,
    )
