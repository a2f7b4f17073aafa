"""Long clips out of short ones. Nothing is encoded: a composed clip is a list of scenes, each of a short clip."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from pydantic import Field

from contract.frozen import FrozenDocument
from training.data.manifest import Row


class LongClipSettings(FrozenDocument):
    """How long clips are composed, and what counts as pointed at."""

    length_s: float = Field(default=16.0, gt=0)
    """Of a composed clip."""
    place_s: float = Field(default=1.9, gt=0)
    """How long the scene in question lasts. Each short clip offers its first seconds, so many."""
    shortest_scene_s: float = Field(default=1.0, gt=0)
    """Other scenes last from this to ``place_s``, evenly; the outermost are cut off by the clip's ends."""
    draws: int = Field(default=4, ge=1)
    """How many pairs are composed around each positive clip."""
    slack_s: float = Field(default=0.5, ge=0)
    """How far outside the scene in question the strongest moment may lie."""
    seed: int = 0


class Scene(FrozenDocument):
    """A span of a composed clip, shown from the start of a short clip.

    Attributes:
        start_s, end_s: of the span, in the composed clip.
        shown_from_s: how far into the short clip it starts.
        row_id: of the short clip.
    """

    start_s: float
    end_s: float
    shown_from_s: float
    row_id: str


class LongClip(FrozenDocument):
    """A composed clip.

    Attributes:
        id: of the clip.
        group: of the short clip at the place in question: what intervals are over.
        positive: whether that clip is one that should be found.
        place: which scene it is.
        scenes: in order of time; together they fill the clip.
    """

    id: str
    group: str
    positive: bool
    place: int
    scenes: tuple[Scene, ...]

    @property
    def place_s(self) -> tuple[float, float]:
        """Start and end of the scene in question."""
        return self.scenes[self.place].start_s, self.scenes[self.place].end_s


def compose(positives: Sequence[Row], negatives: Sequence[Row], settings: LongClipSettings) -> list[LongClip]:
    """Pairs of a positive and a negative clip: the same scenes and cuts, but for the clip at one place.

    Args:
        positives: clips that should be found; each stands at the place in question of ``draws`` pairs.
        negatives: clips that should not; all other scenes are of these, none twice before all were shown.
        settings: lengths, draws and seed.

    Raises:
        ValueError: there is no positive, or fewer than two negatives.
    """
    if not positives or len(negatives) < 2:
        raise ValueError(f"{len(positives)} positive and {len(negatives)} negative clips: too few to compose long ones")
    rng = np.random.default_rng(settings.seed)
    clips: list[LongClip] = []
    for draw in range(settings.draws):
        for shown in positives:
            spans, place = _cuts(settings, rng)
            order = cycle(rng.permutation(len(negatives)))
            instead = negatives[next(order)]
            others = [negatives[next(order)] for _ in spans]
            for positive, there in ((True, shown), (False, instead)):
                rows = [there if i == place else other for i, other in enumerate(others)]
                clips.append(
                    LongClip(
                        id=f"{shown.id}#{draw}{'' if positive else ' without'}",
                        group=there.group,
                        positive=positive,
                        place=place,
                        scenes=tuple(
                            Scene(start_s=start, end_s=end, shown_from_s=into, row_id=row.id)
                            for (start, end, into), row in zip(spans, rows, strict=True)
                        ),
                    )
                )
    return clips


def _cuts(settings: LongClipSettings, rng: np.random.Generator) -> tuple[list[tuple[float, float, float]], int]:
    """(start, end, how far into the short clip) of every scene, and which is the one in question."""
    start = float(rng.uniform(0, max(0.0, settings.length_s - settings.place_s)))
    end = min(settings.length_s, start + settings.place_s)
    before: list[tuple[float, float, float]] = []
    at = start
    while at > 0:
        length = float(rng.uniform(settings.shortest_scene_s, settings.place_s))
        before.append((max(0.0, at - length), at, max(0.0, length - at)))
        at -= length
    after: list[tuple[float, float, float]] = []
    at = end
    while at < settings.length_s:
        length = float(rng.uniform(settings.shortest_scene_s, settings.place_s))
        after.append((at, min(settings.length_s, at + length), 0.0))
        at += length
    return [*reversed(before), (start, end, 0.0), *after], len(before)
