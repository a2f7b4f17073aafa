"""What scoring writes: every score as JSON and as CSV, and the page of the worst mistakes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

from contract.bundle import Bundle
from model_export.scoring.page import render_page
from model_export.scoring.scored_rows import ScoredRow, ScoredSet
from model_export.scoring.summary import summarise, worst
from training.atomic_write import replacing, write_json
from training.data.manifest import Manifest

SCORES_JSON, SCORES_CSV, PAGE = "scores.json", "scores.csv", "mistakes.html"
COLUMNS: Final = ("id", "group", "task", "label", "positive", "flag_score", "threshold", "flagged", "outcome", "video")


def write_scores(found: ScoredSet, bundle: Bundle, manifest: Manifest, out: Path, shown: int) -> dict[str, Any]:
    """The document, which ``scores.json`` holds together with every row.

    Args:
        found: what was scored.
        bundle: that scored it.
        manifest: whose rows they are.
        out: a folder, made where it is missing.
        shown: of each task, misses and false alarms on the page.
    """
    out.mkdir(parents=True, exist_ok=True)
    document = summarise(found, bundle, manifest)
    rows = [_record(row, name) for name, scored in found.scored.items() for row in scored]
    write_json(out / SCORES_JSON, document | {"rows": rows})
    with replacing(out / SCORES_CSV) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    mistakes = {name: worst(found.scored[name], shown) for name in document["tasks"]}
    page = render_page(document, found, mistakes)
    with replacing(out / PAGE) as partial:
        partial.write_text(page, encoding="utf-8")
    return document


def _record(row: ScoredRow, task: str) -> dict[str, Any]:
    label = row.row.labels[task]
    return {
        "id": row.row.id,
        "group": row.row.group,
        "task": task,
        "label": label if isinstance(label, str) else "|".join(label),
        "positive": row.positive,
        "flag_score": round(row.decision.flag_score, 6),
        "threshold": round(row.decision.threshold, 6),
        "flagged": row.decision.flagged,
        "outcome": row.outcome,
        "video": row.row.video,
    }
