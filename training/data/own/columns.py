"""Which column of a CSV means what, as the options of ``from-csv`` say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

LOG_PREFIX = "log:"
"""Before the column of a count with a long tail: log(1 + value) is stored, as ``log1p_COLUMN``."""


class OptionError(ValueError):
    """An option that cannot be read; the message says which and how it is written."""


@dataclass(frozen=True)
class Feature:
    """A privileged column."""

    column: str
    log: bool = False

    @property
    def name(self) -> str:
        return f"log1p_{self.column}" if self.log else self.column


@dataclass(frozen=True)
class Columns:
    """Which column means what; a column that is not named is not read.

    Attributes:
        labels: task -> column.
        video: of the clip's path.
        title: of the title.
        overlay_text: of text shown in the clip.
        group: of what must not straddle splits.
        id: of the row's name; else rows are numbered.
        split: of ``train``, ``val`` or ``test``; else rows are split by group.
        views: of how often the clip was watched.
        multilabel: tasks whose column holds several labels, by ``|``.
        flags: task -> its values that raise the flag.
        privileged: group -> features.
        slices: slice -> column.
    """

    labels: Mapping[str, str]
    video: str | None = None
    title: str | None = None
    overlay_text: str | None = None
    group: str | None = None
    id: str | None = None
    split: str | None = None
    views: str | None = None
    multilabel: frozenset[str] = frozenset()
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    privileged: Mapping[str, tuple[Feature, ...]] = field(default_factory=dict)
    slices: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.labels:
            raise OptionError("--label: name at least one task, as task=column")
        if self.video is None and self.title is None and self.overlay_text is None:
            raise OptionError("name the column of the clips (--video-column), of the titles (--title-column), or both")
        for option, tasks in (("--flag", self.flags), ("--multilabel", self.multilabel)):
            for unknown in sorted(set(tasks) - set(self.labels)):
                raise OptionError(f"{option}: no task {unknown!r}; --label names {', '.join(self.labels)}")

    @property
    def used(self) -> list[str]:
        """Every column that is read, once."""
        single = (self.video, self.title, self.overlay_text, self.group, self.id, self.split, self.views)
        features = (feature.column for features in self.privileged.values() for feature in features)
        named = [*(c for c in single if c is not None), *self.labels.values(), *features, *self.slices.values()]
        return list(dict.fromkeys(named))


def pairs(option: str, given: Iterable[str], *, same: bool = False) -> dict[str, str]:
    """``name=column`` -> name to column; ``same`` lets a column stand alone, under its own name.

    Raises:
        OptionError: one is written otherwise, or a name stands twice.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, column = (part.strip() for part in text.partition("="))
        if not equals and same:
            column = name
        if not name or not column:
            raise OptionError(f"{option}: {text!r} is not written as name=column")
        if name in found:
            raise OptionError(f"{option}: {name!r} is named twice")
        found[name] = column
    return found


def lists(option: str, given: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """``name=a,b`` -> name to (a, b); errors as ``pairs``."""
    return {
        name: tuple(part.strip() for part in text.split(",") if part.strip())
        for name, text in pairs(option, given).items()
    }


def features(given: Iterable[str]) -> dict[str, tuple[Feature, ...]]:
    """``group=column,log:column`` -> group to its features; errors as ``pairs``."""
    return {
        group: tuple(Feature(c.removeprefix(LOG_PREFIX).strip(), c.startswith(LOG_PREFIX)) for c in columns)
        for group, columns in lists("--privileged", given).items()
    }
