"""The pictures of a composed clip are those that the sampler would pick, across cuts too."""

from __future__ import annotations

import numpy as np
import torch

from contract.input_spec import BurstSpec, InputSpec
from recipes.long_clips.composition import LongClip, Scene
from recipes.long_clips.pictures import ShortClip, moment_features, moment_times_s, picked
from tests.moment_model import SPEC, moment_model, with_lively_trunk

BURSTS = InputSpec(
    frames=6,
    frame_size=32,
    sampling="bursts",
    burst=BurstSpec(moments=2, pictures=3, step_ms=200),
    text_fields=SPEC.text_fields,
)


def composed(*scenes: tuple[float, float, float, str], positive: bool = True) -> LongClip:
    shown = [Scene(start_s=a, end_s=b, shown_from_s=into, row_id=name) for a, b, into, name in scenes]
    return LongClip(id="c", group="g", positive=positive, place=0, scenes=tuple(shown))


TIMES = {"a": [i / 10 for i in range(20)], "b": [i / 5 for i in range(10)]}


def test_pictures_are_those_on_screen_of_the_scene_that_is_shown() -> None:
    clip = composed((0.0, 1.0, 0.5, "a"), (1.0, 2.0, 0.0, "b"))
    # Bursts around 0.5 s and 1.5 s; the first scene starts half a second into its clip.
    assert picked(clip, BURSTS, TIMES) == [("a", 8), ("a", 10), ("a", 12), ("b", 1), ("b", 2), ("b", 3)]


def test_a_burst_across_a_cut_holds_pictures_of_both_scenes() -> None:
    clip = composed((0.0, 0.45, 0.0, "a"), (0.45, 2.0, 0.0, "b"))
    assert picked(clip, BURSTS, TIMES)[:3] == [("a", 3), ("b", 0), ("b", 1)]


def test_a_picture_at_the_very_end_is_the_last() -> None:
    clip = composed((0.0, 1.0, 0.0, "a"))
    short = BURSTS.model_copy(update={"burst": BurstSpec(moments=2, pictures=3, step_ms=2000)})
    assert picked(clip, short, TIMES)[-1] == ("a", 10)


def test_moments_are_named_by_their_middle_picture() -> None:
    np.testing.assert_allclose(moment_times_s(composed((0.0, 2.0, 0.0, "a")), BURSTS), [0.5, 1.5])


def test_features_are_the_trunk_s_own_of_those_pictures() -> None:
    trunk = with_lively_trunk(moment_model()).vision_encoder.trunk
    rng = np.random.default_rng(0)
    short = {
        name: ShortClip(tuple(times), rng.integers(0, 256, (len(times), 32, 32, 3), np.uint8))
        for name, times in TIMES.items()
    }
    clip = composed((0.0, 0.45, 0.0, "a"), (0.45, 2.0, 0.0, "b"))
    found = moment_features([clip, clip], SPEC, short, trunk)
    pixels = np.stack([short[name].pixels[i] for name, i in picked(clip, SPEC, TIMES)])
    with torch.no_grad():
        own = trunk(torch.from_numpy(pixels)[None])[0].numpy()
    assert own.std() > 0.1
    np.testing.assert_allclose(found[0], own, atol=1e-2, rtol=1e-2)
    np.testing.assert_array_equal(found[0], found[1])
