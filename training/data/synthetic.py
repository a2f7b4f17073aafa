"""Tiny clips and titles with privileged features, made from a seed: for tests and for users without data.

    direction   binary, from motion          the picture's velocity is the label's plus much noise
    shape       multiclass, from appearance  one clip in seven shows another shape than its label
    topics      multilabel, from words       one topic in four goes unsaid, one absent in ten is named

The privileged groups ``track`` (of clips) and ``reception`` (of titles) know all three almost without noise, so a
teacher that reads them is better than any student can be. Half of the clips have a title too; some rows lack a
privileged group, some a single value.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from contract.decision import Modality, TaskKind, TaskSpec
from training.data.manifest import Manifest, PrivilegedGroup, Row, Split, text_key
from training.data.manifest_io import write_manifest

DIRECTION = TaskSpec(
    name="direction", kind=TaskKind.BINARY, labels=("leftward", "rightward"), modalities=(Modality.VIDEO,)
)
SHAPE = TaskSpec(
    name="shape",
    kind=TaskKind.MULTICLASS,
    labels=("square", "disc", "bar"),
    flag_labels=("disc",),
    modalities=(Modality.VIDEO,),
)
TOPICS = TaskSpec(
    name="topics", kind=TaskKind.MULTILABEL, labels=("giveaway", "sports", "music"), modalities=(Modality.TEXT,)
)
TRACK = PrivilegedGroup(name="track", features=("velocity", "fill_ratio", "log_size"))
RECEPTION = PrivilegedGroup(
    name="reception", features=("giveaway_interest", "sports_interest", "music_interest", "log1p_views")
)
FOLDS = 4
MIN_CLIPS = 16
MIN_TITLES = 12
WIDTH, HEIGHT, FRAMES, FPS = 64, 48, 12, 12
_SPEED = 1.6
"""Of the label's velocity, in pixels a frame."""
_SHOWN_SPEED_STD = 1.2
_FILL_RATIO = (1.0, 0.79, 0.35)
_WORDS = {
    "giveaway": ("free", "prize", "winner", "gift"),
    "sports": ("goal", "match", "race", "team"),
    "music": ("song", "band", "live", "album"),
}
_FILLER = (
    *("the", "a", "my", "this", "new", "old", "best", "last", "first", "day", "night", "time", "place", "house"),
    *("car", "city", "story", "part", "look", "way", "world", "year", "friend", "trip", "water", "light"),
)
_ABSENT_GROUP, _ABSENT_VALUE = 0.1, 0.1


def generate(directory: Path, *, clips: int = 48, titles: int = 96, seed: int = 0) -> Manifest:
    """The manifest, written to ``directory`` with its clips under ``clips/``.

    Args:
        directory: made where it is missing.
        clips: rows with a video, in 4 folds; at least 16.
        titles: rows of text alone, in fixed splits; at least 12.
        seed: the same seed gives the same rows and pictures.

    Raises:
        ValueError: too few clips or titles for every fold and split to hold every class.
    """
    if clips < MIN_CLIPS or titles < MIN_TITLES:
        raise ValueError(f"needs at least {MIN_CLIPS} clips and {MIN_TITLES} titles")
    (directory / "clips").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    titled_topics = _unique_titles(rng)
    rows = [_clip_row(i, directory, rng, titled_topics) for i in range(clips)]
    rows += [_title_row(i, rng, titled_topics) for i in range(titles)]
    manifest = Manifest(
        name="synthetic",
        tasks=(DIRECTION, SHAPE, TOPICS),
        privileged_groups=(TRACK, RECEPTION),
        folds=FOLDS,
        media_root=str(directory.resolve()),
        rows=tuple(rows),
    )
    write_manifest(manifest, directory)
    return manifest


def _clip_row(i: int, directory: Path, rng: np.random.Generator, titled_topics: Iterator[tuple[str, list[str]]]) -> Row:
    scene, direction = divmod(i, 2)
    shape = (i // (2 * FOLDS) + direction) % len(SHAPE.labels)
    velocity = _SPEED if direction else -_SPEED
    size = int(rng.integers(9, 15))
    shown_shape = int(rng.integers(len(SHAPE.labels))) if rng.random() < 0.2 else shape
    file = f"clips/{i:04d}.mp4"
    _write_clip(directory / file, _pictures(shown_shape, velocity + rng.normal(0, _SHOWN_SPEED_STD), size, rng))
    track = (velocity + rng.normal(0, 0.3), _FILL_RATIO[shape] + rng.normal(0, 0.05), float(np.log(size)))
    texts: dict[str, str] = {}
    labels: dict[str, str | list[str]] = {
        DIRECTION.name: DIRECTION.labels[direction],
        SHAPE.name: SHAPE.labels[shape],
    }
    privileged = _observed(TRACK, track, rng)
    views = float(np.round(np.exp(rng.normal(8, 2))))
    if scene % 2:
        texts["title"], topics = next(titled_topics)
        labels[TOPICS.name] = list(topics)
        privileged |= _observed(RECEPTION, _reception(topics, views, rng), rng)
    return Row(
        id=f"clip{i:04d}",
        video=file,
        texts=texts,
        labels=labels,
        privileged=privileged,
        fold=scene % FOLDS,
        group=f"scene{scene:04d}",
        slices={"size": "small" if size < 12 else "large"},
        view_count=views,
    )


def _title_row(i: int, rng: np.random.Generator, titled_topics: Iterator[tuple[str, list[str]]]) -> Row:
    channel = i // 2
    splits: tuple[Split, ...] = ("test", "val", "train", "train", "train", "train")
    title, topics = next(titled_topics)
    texts = {"title": title}
    if i % 4 == 3:
        words = title.split()
        texts = {"title": " ".join(words[::2]), "overlay_text": " ".join(words[1::2])}
    views = float(np.round(np.exp(rng.normal(8, 2))))
    return Row(
        id=f"title{i:04d}",
        texts=texts,
        labels={TOPICS.name: list(topics)},
        privileged=_observed(RECEPTION, _reception(topics, views, rng), rng),
        split=splits[channel % len(splits)],
        group=f"channel{channel:04d}",
        view_count=views,
    )


def _unique_titles(rng: np.random.Generator) -> Iterator[tuple[str, list[str]]]:
    """Titles and their topics, no title twice. Every topic is in every fourth title or more."""
    seen: set[str] = set()
    for i in itertools.count():
        forced = i % (len(TOPICS.labels) + 1)
        topics = [name for n, name in enumerate(TOPICS.labels) if n == forced or rng.random() < 0.25]
        words: list[str] = []
        while not words or text_key(" ".join(words)) in seen:
            words = list(rng.choice(_FILLER, 4))
            for name in TOPICS.labels:
                if rng.random() < (0.75 if name in topics else 0.1):
                    words.append(str(rng.choice(_WORDS[name])))
            rng.shuffle(words)
        seen.add(text_key(" ".join(words)))
        yield " ".join(words), topics


def _reception(topics: list[str], views: float, rng: np.random.Generator) -> tuple[float, ...]:
    interest = (float(name in topics) + rng.normal(0, 0.2) for name in TOPICS.labels)
    return (*interest, float(np.log1p(views)))


def _observed(
    group: PrivilegedGroup, values: tuple[float, ...], rng: np.random.Generator
) -> dict[str, dict[str, float | None]]:
    """The group as a row holds it: whole, with one value missing, or not at all."""
    if rng.random() < _ABSENT_GROUP:
        return {}
    given: dict[str, float | None] = {
        name: round(float(value), 6) for name, value in zip(group.features, values, strict=True)
    }
    if rng.random() < _ABSENT_VALUE:
        given[group.features[int(rng.integers(len(group.features)))]] = None
    return {group.name: given}


def _pictures(shape: int, velocity: float, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(12, 48, 64, 3) uint8: a bright shape that drifts over a dark, noisy ground."""
    colour = rng.integers(140, 256, 3)
    ground = rng.integers(0, 90, 3)
    centre_x = WIDTH / 2 - velocity * FRAMES / 2 + rng.normal(0, 4)
    centre_y = HEIGHT / 2 + rng.normal(0, 4)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    pictures = np.clip(ground + rng.normal(0, 12, (FRAMES, HEIGHT, WIDTH, 3)), 0, 255)
    for t in range(FRAMES):
        dx = np.abs(columns - (centre_x + velocity * t + rng.normal(0, 0.5)))
        dy = np.abs(rows - (centre_y + rng.normal(0, 0.5)))
        inside = (np.maximum(dx, dy), np.hypot(dx, dy), np.maximum(dx, 3 * dy))[shape] <= size / 1.5
        pictures[t][inside] = colour
    return np.asarray(pictures, np.uint8)


def _write_clip(path: Path, pictures: NDArray[np.uint8]) -> None:
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", rate=FPS, options={"threads": "1", "qscale": "4"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
