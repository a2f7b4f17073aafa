"""The words of a model card as far as rows tell them: the rest is for whoever knows the data to write."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from contract.decision import TaskSpec
from training.data.manifest import Manifest

CARD_FILE: Final = "card.yaml"
UNWRITTEN: Final = "Not written yet"


def write_card_words(manifest: Manifest, directory: Path) -> Path:
    """``card.yaml`` for the export's ``--notes``, beside the manifest; one that is there already is kept."""
    path = directory / CARD_FILE
    if not path.exists():
        document = {
            "intended_use": f"{UNWRITTEN}: what the verdicts are for, and who acts on them.",
            "not_for": [f"{UNWRITTEN}: what the rows do not stand for."],
            "tasks": {task.name: _task(task, manifest) for task in manifest.tasks},
        }
        path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
    return path


def _task(task: TaskSpec, manifest: Manifest) -> dict[str, str]:
    rows = [row for row in manifest.rows if task.name in row.labels]
    groups = len({row.group for row in rows})
    return {
        "asks": f"{UNWRITTEN}: the question that raises {', '.join(task.flagged_by)}.",
        "data": f"{len(rows)} rows in {groups} groups. {UNWRITTEN}: where they come from, who labelled them, and when.",
        "limits": f"{UNWRITTEN}: where it is known to fail.",
    }
