"""The worst mistakes as one page with pictures; it loads nothing, and its size is bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import Environment, StrictUndefined

from model_export.scoring.page_template import TEMPLATE
from model_export.scoring.scored_rows import ScoredRow, ScoredSet
from model_export.scoring.summary import SHOWN
from model_export.scoring.thumbnails import thumbnails

FRAMES: Final = 3
"""Pictures of a clip."""
MOST_BYTES: Final = 12 << 20
"""Of all pictures together; mistakes after that are listed without."""
_LONGEST_TEXT = 300
_TITLES: Final = {
    "miss_rate": "positives missed",
    "overkill": "negatives flagged",
    "f1": "F1",
    "pr_auc": "PR-AUC",
    "roc_auc": "ROC-AUC",
    "ece": "ECE",
}


@dataclass(frozen=True)
class _Mistake:
    """One card of the page."""

    id: str
    video: str
    group: str
    label: str
    said: str
    score: str
    threshold: str
    texts: tuple[str, ...]
    slices: tuple[str, ...]
    pictures: tuple[str, ...]


class Pictures:
    """Thumbnails of rows, until there are ``MOST_BYTES`` of them."""

    def __init__(self, found: ScoredSet, limit: int = MOST_BYTES) -> None:
        self._found, self._left = found, limit
        self._kept: dict[str, tuple[str, ...]] = {}
        self.left_out = 0

    def of(self, row: ScoredRow) -> tuple[str, ...]:
        """Data URIs of the row's frames; none without a clip, or when the page is full."""
        key = row.row.id
        if row.row.video is None:
            return ()
        if key not in self._kept:
            if self._left <= 0:
                self.left_out += 1
                return ()
            made = tuple(thumbnails(self._found.frames.frames(row.row), FRAMES))
            self._left -= sum(map(len, made))
            self._kept[key] = made
        return self._kept[key]


def render_page(
    document: Mapping[str, Any],
    found: ScoredSet,
    mistakes: Mapping[str, Mapping[str, Sequence[ScoredRow]]],
    pictures: Pictures | None = None,
) -> str:
    """The page.

    Args:
        document: of ``summarise``.
        found: what was scored.
        mistakes: task -> ``missed`` and ``false alarm`` -> rows, worst first.
        pictures: of the rows; as many as a page may hold where None.
    """
    pictures = pictures or Pictures(found)
    tasks = [
        {
            "name": name,
            "task": task,
            "metrics": [(_TITLES[metric], _metric(task["metrics"][metric])) for metric in SHOWN],
            "warnings": _warnings(task),
            "mistakes": {
                outcome: [_mistake(row, name, pictures) for row in rows] for outcome, rows in mistakes[name].items()
            },
        }
        for name, task in document["tasks"].items()
    ]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE).render(document=document, tasks=tasks, left_out=pictures.left_out)


def _metric(metric: Mapping[str, Any]) -> str:
    if metric["value"] is None or None in metric["interval"]:
        return "-"
    low, high = metric["interval"]
    return f"{metric['value']:.3f} [{low:.3f}, {high:.3f}]"


def _warnings(task: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} = {value}: {warning}"
        for name, values in task["slices"].items()
        for value, entry in values.items()
        for warning in entry["warnings"]
    ]


def _mistake(row: ScoredRow, task: str, pictures: Pictures) -> _Mistake:
    label = row.row.labels[task]
    texts = [text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..." for text in row.row.texts.values()]
    return _Mistake(
        id=row.row.id,
        video=row.row.video or "",
        group=row.row.group,
        label=label if isinstance(label, str) else ", ".join(label) or "none",
        said=", ".join(row.decision.flagged_labels) or row.decision.label,
        score=f"{row.decision.flag_score:.3f}",
        threshold=f"{row.decision.threshold:.3f}",
        texts=tuple(text for text in texts if text.strip()),
        slices=tuple(f"{name} {value}" for name, value in row.row.slices.items()),
        pictures=pictures.of(row),
    )
