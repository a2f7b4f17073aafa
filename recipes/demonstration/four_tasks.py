"""T1 to T4 -> the one multi-task manifest that the default bundles are trained on."""

from __future__ import annotations

from pathlib import Path

from recipes.demonstration import aerial, clickbait, fights, trending
from training.data.manifest import Manifest, PrivilegedGroup

NAME = "default"


def build_default(data_dir: Path, *, max_clickbait_train: int | None = None, seed: int = 0) -> Manifest:
    """T1 to T4 as one manifest, in that order; paths are relative to ``data_dir``.

    T3 and T4 hold some of the same videos under different splits: a title held out in either is not in the train
    rows of the other.

    Args:
        data_dir: where the development data lie.
        max_clickbait_train: keep this many train rows of T3; None keeps all.
        seed: of that choice.

    Raises:
        ManifestError: a table is missing or faulty.
    """
    parts = (
        fights.build(data_dir),
        aerial.build(data_dir),
        clickbait.build(data_dir, max_train=max_clickbait_train, seed=seed, held_out=trending.held_out_keys(data_dir)),
        trending.build(data_dir, held_out=clickbait.held_out_keys(data_dir)),
    )
    groups: dict[str, PrivilegedGroup] = {}
    for part in parts:
        for group in part.privileged_groups:
            if groups.setdefault(group.name, group) != group:
                raise ValueError(f"two builders disagree on the privileged group {group.name}")
    return Manifest(
        name=NAME,
        tasks=tuple(task for part in parts for task in part.tasks),
        privileged_groups=tuple(groups.values()),
        folds=fights.FOLDS,
        media_root=str(data_dir.resolve()),
        rows=tuple(row for part in parts for row in part.rows),
    )
