"""T1, ``violence``: two-second surveillance clips, with optical-flow statistics as privileged features.

Duration, frame rate, resolution and bytes alone tell half the answer: every clip is read over the same 1.9 s,
and none of them is a feature (``training.evaluation.controls`` measures what they would give).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from contract.decision import Modality, TaskKind, TaskSpec
from recipes.demonstration.csv_table import Record, read_records
from training.data.manifest import Manifest, PrivilegedGroup, Row

TASK = TaskSpec(
    name="violence",
    kind=TaskKind.BINARY,
    labels=("non_violent", "violent"),
    modalities=(Modality.VIDEO,),
)
FOLDS = 4
WINDOW_MS = (0.0, 1900.0)
_LOG_FLOOR = 1e-4
"""Flow is in pixels a frame, from 1e-4 up to 70: its statistics are read on a log scale."""


def build(data_dir: Path, *, audio: bool = False) -> Manifest:
    """The manifest of T1.

    Args:
        data_dir: where the development data lie.
        audio: add the group ``audio``. Off by default: whether a clip has sound tells how it was uploaded.

    Raises:
        ManifestError: a table is missing or faulty.
    """
    records = read_records(data_dir, "fights/manifest.csv", ("file", "label_fight", "group", "fold"))
    flow = {r.text("file"): r for r in read_records(data_dir, "fights/priv_flow_norm20fps.csv", ("file",))}
    flow_columns = [c for c in next(iter(flow.values())).fields if c.startswith("flow_")]
    groups = [PrivilegedGroup(name="flow", features=tuple(f"log_{c}" for c in flow_columns))]
    sound: dict[str, Record] = {}
    sound_columns: list[str] = []
    if audio:
        audio_records = read_records(data_dir, "fights/priv_flow_audio.csv", ("file", "aud_present"))
        sound = {r.text("file"): r for r in audio_records}
        sound_columns = [c for c in audio_records[0].fields if c.startswith("aud_") and c != "aud_present"]
        groups.append(PrivilegedGroup(name="audio", features=tuple(sound_columns)))
    rows = []
    for record in records:
        file = record.text("file")
        if file not in flow or (audio and file not in sound):
            raise record.fault("file", "has no privileged features")
        privileged: dict[str, dict[str, float | None]] = {"flow": _flow(flow[file], flow_columns)}
        if audio and sound[file].number_in("aud_present") > 0:
            privileged["audio"] = {c: sound[file].number_in(c) for c in sound_columns}
        rows.append(_row(record, privileged))
    return Manifest(
        name="fights",
        tasks=(TASK,),
        privileged_groups=tuple(groups),
        folds=FOLDS,
        media_root=str(data_dir.resolve()),
        rows=tuple(rows),
    )


def _flow(record: Record, columns: Sequence[str]) -> dict[str, float | None]:
    return {f"log_{c}": math.log(record.number_in(c, low=0) + _LOG_FLOOR) for c in columns}


def _row(record: Record, privileged: dict[str, dict[str, float | None]]) -> Row:
    file = record.text("file")
    return Row(
        id=f"{TASK.name}:{PurePosixPath(file).stem}",
        video=f"fights/{file}",
        window_ms=WINDOW_MS,
        labels={TASK.name: TASK.labels[int(record.one_of("label_fight", ("0", "1")))]},
        privileged=privileged,
        fold=record.integer("fold"),
        group=f"{TASK.name}:{record.text('group')}",
    )
