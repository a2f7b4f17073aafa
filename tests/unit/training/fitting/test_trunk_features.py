"""What frozen encoders give is kept whole, made anew where it is not, and refused in one line where it is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from contract.input_spec import InputSpec
from contract.text import TextTokenizer
from tests.moment_model import SPEC, TASKS, moment_config, moment_model, with_lively_trunk
from training.config import AugmentationConfig, OptimiserConfig, RunConfig
from training.data.frames.trunk_features import TrunkFeaturesError
from training.data.manifest import Row
from training.data.tokenizer import train_tokenizer
from training.fitting.trunk_features import clip_identity, keep_clip_features, keep_text_features
from training.models.moment_xvlm import MomentXVLM

ROWS = [Row(id=f"clip{i}", video=f"{i}.mp4", group=f"g{i}", fold=i) for i in range(3)]
TITLES = [Row(id=f"title{i}", texts={"title": text}, group=f"t{i}", fold=i) for i, text in enumerate(("a b", "b c d"))]
VIEWS = 2


class Frames:
    """Noise, another for each row."""

    spec: InputSpec = SPEC
    failed: dict[str, str] = {"clip2": "corrupt_media"}  # noqa: RUF012 - read alone
    failures: dict[str, int] = {}  # noqa: RUF012

    def frames(self, row: Row) -> NDArray[np.uint8]:
        return np.random.default_rng(int(row.id[-1])).integers(0, 256, SPEC.frames_shape, np.uint8)


@pytest.fixture(scope="module")
def config() -> RunConfig:
    augmentation = AugmentationConfig(views=VIEWS)
    return RunConfig(
        input_spec=SPEC,
        model=moment_config(text={"frozen": True}),
        optimiser=OptimiserConfig(augmentation=augmentation),
    )


@pytest.fixture
def model(config: RunConfig) -> MomentXVLM:
    return with_lively_trunk(moment_model(config.model, TASKS))


def test_what_is_kept_is_what_the_trunk_gives(model: MomentXVLM, config: RunConfig, tmp_path: Path) -> None:
    kept = keep_clip_features(model, config, ROWS, Frames(), tmp_path)
    assert set(kept.files) == {"clip0", "clip1"}, "a clip that failed to decode has none"
    with torch.no_grad():
        own = model.vision_encoder.trunk(torch.from_numpy(Frames().frames(ROWS[1]))[None])[0].numpy()
    assert own.std() > 0.1
    np.testing.assert_allclose(kept.features("clip1", 0), own, atol=1e-2, rtol=1e-2)
    assert not np.allclose(kept.features("clip1", 1), own, atol=1e-2), "the second view is a changed clip"


def test_what_is_kept_already_is_not_computed_again(model: MomentXVLM, config: RunConfig, tmp_path: Path) -> None:
    kept = keep_clip_features(model, config, ROWS, Frames(), tmp_path)
    written = {path: path.stat().st_mtime_ns for path in kept.files.values()}
    again = keep_clip_features(model, config, ROWS, Frames(), tmp_path)
    assert {path: path.stat().st_mtime_ns for path in again.files.values()} == written


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_an_empty_or_cut_file_is_made_anew(share: float, model: MomentXVLM, config: RunConfig, tmp_path: Path) -> None:
    kept = keep_clip_features(model, config, ROWS, Frames(), tmp_path)
    path, whole = kept.files["clip0"], kept.files["clip0"].read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(TrunkFeaturesError, match=f"{path.name}: no features of {VIEWS} views") as caught:
        kept.features("clip0", 1)
    assert "\n" not in str(caught.value)
    keep_clip_features(model, config, ROWS, Frames(), tmp_path)
    assert path.read_bytes() == whole


def test_a_planted_nan_is_one_line_that_names_the_file(model: MomentXVLM, config: RunConfig, tmp_path: Path) -> None:
    kept = keep_clip_features(model, config, ROWS, Frames(), tmp_path)
    values = np.load(kept.files["clip0"])
    values[0, 1, 3] = np.nan
    np.save(kept.files["clip0"], values)
    with pytest.raises(TrunkFeaturesError, match=r"\.npy: holds what is no number: remove it to make it anew"):
        kept.features("clip0", 0)


def test_a_damaged_trunk_is_one_line_that_names_the_row(model: MomentXVLM, config: RunConfig, tmp_path: Path) -> None:
    with torch.no_grad():
        model.vision_encoder.trunk.pictures._conv_stem.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="row clip0: the vision trunk gives what is no number"):
        keep_clip_features(model, config, ROWS, Frames(), tmp_path)
    assert not list(tmp_path.rglob("*.npy"))


def test_what_the_heads_do_with_features_does_not_make_them_others(model: MomentXVLM, config: RunConfig) -> None:
    def identity(**vision: object) -> str:
        other = config.model.vision.model_copy(update=vision)
        return clip_identity(
            model, config.model_copy(update={"model": config.model.model_copy(update={"vision": other})})
        )

    assert identity(
        bound=1.0, dropout=0.5, task_pooling={"clip": "strongest"}, tied_channels=("clip",)
    ) == clip_identity(model, config)
    assert identity(statistics=("mean",)) != clip_identity(model, config)
    assert identity(map_statistics={"stride16": ("mean",)}) != clip_identity(model, config)


@pytest.fixture
def tokenizer(tmp_path: Path) -> TextTokenizer:
    path = tmp_path / "tokenizer.json"
    train_tokenizer((text for row in TITLES for text in row.texts.values()), 60, path)
    return TextTokenizer(path, SPEC)


def test_texts_are_kept_and_a_row_without_one_reads_the_empty_text(
    model: MomentXVLM, tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    kept = keep_text_features(model, [*TITLES, *ROWS], tokenizer, {"title"}, tmp_path)
    assert kept.features("title1").shape == (len(tokenizer.encode(TITLES[1].texts).input_ids), 16)
    np.testing.assert_array_equal(kept.features("clip0"), kept.features(""))


def test_texts_whose_file_was_removed_are_made_anew(
    model: MomentXVLM, tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    first = keep_text_features(model, TITLES, tokenizer, {"title"}, tmp_path)
    before = first.features("title0").copy()
    first.path.unlink()
    again = keep_text_features(model, TITLES, tokenizer, {"title"}, tmp_path)
    np.testing.assert_array_equal(again.features("title0"), before)


def test_a_cut_file_of_texts_is_one_line(model: MomentXVLM, tokenizer: TextTokenizer, tmp_path: Path) -> None:
    kept = keep_text_features(model, TITLES, tokenizer, {"title"}, tmp_path)
    kept.path.write_bytes(kept.path.read_bytes()[:-8])
    with pytest.raises(TrunkFeaturesError, match=r"tokens\.npy: cannot be read: remove it to make it anew"):
        keep_text_features(model, TITLES, tokenizer, {"title"}, tmp_path).features("title0")


def test_damaged_text_layers_are_one_line(model: MomentXVLM, tokenizer: TextTokenizer, tmp_path: Path) -> None:
    with torch.no_grad():
        model.text_encoder.embeddings.word_embeddings.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="the text layers give what is no number"):
        keep_text_features(model, TITLES, tokenizer, {"title"}, tmp_path)
