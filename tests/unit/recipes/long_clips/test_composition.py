"""Pairs of composed clips differ in one scene; the rest, cuts included, is the same."""

from __future__ import annotations

import pytest

from recipes.long_clips.composition import LongClip, LongClipSettings, compose
from training.data.manifest import Row

POSITIVES = [Row(id=f"yes{i}", video="v.mp4", group=f"source {i}", fold=0) for i in range(3)]
NEGATIVES = [Row(id=f"no{i}", video="v.mp4", group=f"other {i}", fold=0) for i in range(20)]
SETTINGS = LongClipSettings(draws=5)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[LongClip, LongClip]]:
    clips = compose(POSITIVES, NEGATIVES, SETTINGS)
    assert len(clips) == 2 * SETTINGS.draws * len(POSITIVES)
    return list(zip(clips[::2], clips[1::2], strict=True))


def test_a_pair_has_the_same_cuts_and_scenes_but_for_one(pairs: list[tuple[LongClip, LongClip]]) -> None:
    for one, other in pairs:
        assert (one.positive, other.positive) == (True, False)
        assert one.place == other.place
        for number, (scene, instead) in enumerate(zip(one.scenes, other.scenes, strict=True)):
            assert (scene.start_s, scene.end_s, scene.shown_from_s) == (
                instead.start_s,
                instead.end_s,
                instead.shown_from_s,
            )
            assert (scene.row_id == instead.row_id) is (number != one.place)


def test_the_place_alone_shows_what_is_sought(pairs: list[tuple[LongClip, LongClip]]) -> None:
    sought, others = {row.id for row in POSITIVES}, {row.id for row in NEGATIVES}
    for one, other in pairs:
        assert {scene.row_id for scene in one.scenes} & sought == {one.scenes[one.place].row_id}
        assert {scene.row_id for scene in other.scenes} <= others
        assert one.group == next(row.group for row in POSITIVES if row.id == one.scenes[one.place].row_id)
        assert other.group == next(row.group for row in NEGATIVES if row.id == other.scenes[other.place].row_id)


def test_scenes_fill_the_clip_and_the_place_has_its_whole_length(pairs: list[tuple[LongClip, LongClip]]) -> None:
    for one, _ in pairs:
        assert one.scenes[0].start_s == 0
        assert one.scenes[-1].end_s == SETTINGS.length_s
        assert all(a.end_s == b.start_s for a, b in zip(one.scenes, one.scenes[1:], strict=False))
        start, end = one.place_s
        assert end - start == pytest.approx(SETTINGS.place_s)
        assert all(scene.shown_from_s + scene.end_s - scene.start_s <= SETTINGS.place_s + 1e-9 for scene in one.scenes)


def test_no_scene_is_shown_twice_while_others_were_not(pairs: list[tuple[LongClip, LongClip]]) -> None:
    for one, other in pairs:
        assert len({scene.row_id for scene in one.scenes}) == len(one.scenes)
        assert len({scene.row_id for scene in other.scenes}) == len(other.scenes)


def test_places_are_drawn_all_over_the_clip(pairs: list[tuple[LongClip, LongClip]]) -> None:
    starts = [one.place_s[0] for one, _ in pairs]
    assert min(starts) < SETTINGS.length_s / 4
    assert max(starts) > SETTINGS.length_s / 2


def test_the_seed_decides() -> None:
    assert compose(POSITIVES, NEGATIVES, SETTINGS) == compose(POSITIVES, NEGATIVES, SETTINGS)
    other = SETTINGS.model_copy(update={"seed": 1})
    assert compose(POSITIVES, NEGATIVES, SETTINGS) != compose(POSITIVES, NEGATIVES, other)


@pytest.mark.parametrize(("positives", "negatives"), [(0, 5), (2, 1)])
def test_too_few_clips_are_refused(positives: int, negatives: int) -> None:
    with pytest.raises(ValueError, match=f"{positives} positive and {negatives} negative clips: too few"):
        compose(POSITIVES[:positives], NEGATIVES[:negatives], SETTINGS)
