"""T2, ``restricted_object``: what flies in a ten-second clip, with the kinematics of its track as privileged features.

The background gives the class away, so folds are by background; the slice ``bg_mixed`` marks the backgrounds that
were filmed with more than one class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from contract.decision import Modality, TaskKind, TaskSpec
from recipes.demonstration.csv_table import Record, read_records
from training.data.manifest import Manifest, PrivilegedGroup, Row

TASK = TaskSpec(
    name="restricted_object",
    kind=TaskKind.MULTICLASS,
    labels=("airplane", "bird", "drone", "helicopter"),
    flag_labels=("drone",),
    modalities=(Modality.VIDEO,),
)
FOLDS = 4
_LINEAR = ("visible_frac", "aspect_mean")
_LOG_FLOOR = 1e-5
"""Speeds are in picture widths a frame, around 1e-3: they are read on a log scale, as sizes and spreads are."""
_SLICES = ("sensor", "bg_mixed", "is_internet")


def build(data_dir: Path) -> Manifest:
    """The manifest of T2.

    Args:
        data_dir: where the development data lie.

    Raises:
        ManifestError: a table is missing or faulty.
    """
    records = read_records(data_dir, "aerial/manifest.csv", ("file", "class", "bg_group", "fold", *_SLICES))
    tracks = {r.text("file"): r for r in read_records(data_dir, "aerial/priv_track_kinematics.csv", ("file", *_LINEAR))}
    columns = [c for c in next(iter(tracks.values())).fields if c != "file"]
    rows = []
    for record in records:
        file = record.text("file")
        if file not in tracks:
            raise record.fault("file", "has no privileged features")
        label = record.one_of("class", tuple(name.upper() for name in TASK.labels)).lower()
        rows.append(
            Row(
                id=f"{TASK.name}:{PurePosixPath(file).stem}",
                video=f"aerial/{file}",
                labels={TASK.name: label},
                privileged={"track": _track(tracks[file], columns)},
                fold=record.integer("fold"),
                group=f"{TASK.name}:{record.text('bg_group')}",
                slices={name: record.text(name) for name in _SLICES},
            )
        )
    return Manifest(
        name="aerial",
        tasks=(TASK,),
        privileged_groups=(PrivilegedGroup(name="track", features=tuple(_name(c) for c in columns)),),
        folds=FOLDS,
        media_root=str(data_dir.resolve()),
        rows=tuple(rows),
    )


def _name(column: str) -> str:
    return column if column in _LINEAR else f"log_{column}"


def _track(record: Record, columns: Sequence[str]) -> dict[str, float | None]:
    """The track's features; an object that is never in the picture has no kinematics, only ``visible_frac`` 0."""
    seen = record.number_in("visible_frac", low=0) > 0
    values: dict[str, float | None] = {}
    for column in columns:
        value = record.number_in(column, low=0)
        if column == "visible_frac":
            values[column] = value
        elif not seen:
            values[_name(column)] = None
        else:
            values[_name(column)] = value if column in _LINEAR else math.log(value + _LOG_FLOOR)
    return values
