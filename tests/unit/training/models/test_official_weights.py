"""Official checkpoints: the same logits after the round trip, and every fault of a file in one message."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from contract.decision import TaskKind, TaskSpec
from tests.unit.training.models.official_layout import (
    TIED,
    official_buffers,
    official_shapes,
    reference_swin,
    to_official,
)
from tests.unit.training.models.test_models import TASKS, inputs
from training.config import ModelConfig, PretrainedConfig, RunConfig, TextConfig, VisionConfig, read_config
from training.models.df_xvlm import DFXVLM, PrivilegedOnly
from training.models.weights.install import LoadReport, PretrainedError, geometric_offsets, install, resize_bias_table
from training.models.weights.official_keys import translate_official
from training.models.weights.sources import load_pretrained, read_official, require_sources
from training.models.xvlm import XVLM

MODEL = ModelConfig(
    name="xvlm-small",
    vision=VisionConfig(embed_dim=16, depths=(2, 2), heads=(1, 2), window_size=4, drop_path=0.0),
    text=TextConfig(
        vocab_size=400, embedding_size=32, hidden_size=32, heads=2, ffn_size=32, text_layers=2, cross_layers=2,
        max_positions=16,
    ),
)  # fmt: skip
OTHER_TASK = (TaskSpec(name="z", kind=TaskKind.BINARY, labels=("no", "yes")),)


@pytest.fixture(scope="module")
def config(tiny_config: RunConfig) -> RunConfig:
    spec = tiny_config.input_spec.model_copy(update={"frame_size": 64})
    return tiny_config.model_copy(update={"model": MODEL, "input_spec": spec})


def build(config: RunConfig, seed: int) -> XVLM:
    """Every weight random: fresh bias tables and biases are all zero, and would not show where they went."""
    torch.manual_seed(seed)
    model = XVLM(config.model, config.input_spec, TASKS).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return model


@pytest.fixture
def trained(config: RunConfig) -> XVLM:
    return build(config, 0)


@pytest.fixture
def official(trained: XVLM) -> dict[str, Tensor]:
    return to_official(trained.state_dict(), MODEL)


def load(model: XVLM, state: dict[str, Tensor]) -> LoadReport:
    return install(model, translate_official(state, text_layers=2, parts=("vision", "text")), source="file")


def save(path: Path, document: object) -> PretrainedConfig:
    torch.save(document, path)
    return PretrainedConfig(kind="xvlm", checkpoint=str(path))


def stripped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.replace("bert.", "") if k.startswith("text_encoder.") else k: v for k, v in state.items()}


@torch.no_grad()
@pytest.mark.parametrize("bare", [True, False])
@pytest.mark.parametrize("infix", [True, False])
def test_round_trip_gives_identical_logits(
    infix: bool, bare: bool, trained: XVLM, official: dict[str, Tensor], config: RunConfig, tmp_path: Path
) -> None:
    state = official if infix else stripped(official)
    given = save(tmp_path / "x.th", state if bare else {"model": state, "config": {"image_res": 64, "lr": 1e-4}})
    other = build(config, 1)
    report = load_pretrained(other, given)
    assert report is not None
    for name, parameter in other.named_parameters():
        if name in report.fresh:
            parameter.copy_(dict(trained.named_parameters())[name])
    batch = inputs(config)
    one, two = trained(**batch), other(**batch)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert {n.split(".")[0] for n in report.loaded} == {"vision_encoder", "text_encoder", "cross_encoder"}
    assert len(report.ignored) == len(official) - len(official_shapes(MODEL, heads=False))
    assert any(name.endswith("attn_mask") for name in report.ignored)


@torch.no_grad()
def test_vision_equals_a_swin_written_from_the_paper(config: RunConfig) -> None:
    """Shifted windows, masks, bias tables, patch merging and the order of query, key and value."""
    torch.manual_seed(3)
    state = {name: torch.randn(shape) * 0.2 for name, shape in official_shapes(MODEL).items()}
    model = build(config, 4)
    load(model, state)
    pixels = torch.randn(2, 3, 64, 64)
    ours = model.vision_encoder.swin(pixels).last_hidden_state
    assert torch.allclose(ours, reference_swin(state, pixels, MODEL), atol=2e-5)


def test_the_base_layout_has_the_published_size_and_is_loaded_whole() -> None:
    """method.md 3.3: 215.64 M parameters in 608 tensors, 36 buffers, of which vision, text and cross are ours."""
    run = read_config(Path(__file__).resolve().parents[4] / "configs" / "base.yaml")
    shapes, buffers = official_shapes(run.model), official_buffers(run.model)
    assert (len(shapes), len(buffers)) == (608, 36)
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in (shapes | buffers).items()}
        model = XVLM(run.model, run.input_spec, TASKS)
    assert sum(state[name].numel() for name in shapes if name not in TIED) == pytest.approx(215.64e6, abs=5e3)
    report = install(model, translate_official(state, text_layers=6, parts=("vision", "text")), source="base")
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    loaded = sum(sizes[name] for name in report.loaded)
    assert loaded == pytest.approx(86.743e6 + 125.434e6, abs=1e3)
    towers = ("vision_encoder.swin.", "text_encoder.", "cross_encoder.")
    assert set(report.loaded) == {name for name in sizes if name.startswith(towers)}


def test_every_fault_is_listed_and_nothing_is_changed(official: dict[str, Tensor], config: RunConfig) -> None:
    model = build(config, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    del official["vision_encoder.norm.weight"], official["text_encoder.bert.encoder.layer.3.output.dense.bias"]
    official["text_encoder.bert.embeddings.word_embeddings.weight"] = torch.zeros(7, 32)
    official["vision_encoder.layers.0.blocks.0.attn.q_bias"] = torch.zeros(16)
    official["text_encoder.bert.encoder.layer.9.output.dense.bias"] = torch.zeros(32)
    with pytest.raises(PretrainedError) as caught:
        load(model, official)
    told = str(caught.value)
    assert "2 unexpected: text_encoder.bert.encoder.layer.9.output.dense.bias, vision_encoder.layers.0" in told
    assert "2 missing: vision_encoder.swin.layernorm.weight, cross_encoder.layers.1.output.dense.bias" in told
    assert "word_embeddings.weight (7, 32), the model's" in told
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_name_in_both_styles_is_refused(official: dict[str, Tensor], config: RunConfig) -> None:
    official["text_encoder.embeddings.LayerNorm.bias"] = torch.zeros(32)
    with pytest.raises(PretrainedError, match=r"1 unexpected: text_encoder\.embeddings"):
        load(build(config, 1), official)


def test_another_window_resizes_the_tables(official: dict[str, Tensor], config: RunConfig) -> None:
    wide = MODEL.model_copy(update={"vision": MODEL.vision.model_copy(update={"window_size": 8})})
    model = build(config.model_copy(update={"model": wide}), 1)
    load(model, official)
    name = "vision_encoder.swin.encoder.layers.0.blocks.0.attention.relative_position_bias.relative_position_bias_table"
    table = official["vision_encoder.layers.0.blocks.0.attn.relative_position_bias_table"]
    assert torch.equal(model.state_dict()[name], resize_bias_table(table, 15 * 15))


def test_a_table_of_the_same_window_is_itself_and_the_middle_stays_in_the_middle() -> None:
    table = torch.randn(13 * 13, 4)
    assert resize_bias_table(table, 13 * 13) is table
    assert torch.allclose(resize_bias_table(torch.full((169, 2), 3.0), 529), torch.full((529, 2), 3.0), atol=1e-6)
    peak = torch.zeros(169, 1)
    peak[84] = 1
    large = resize_bias_table(peak, 529).view(23, 23)
    assert int(large.argmax()) == 11 * 23 + 11
    assert torch.allclose(large, large.T, atol=1e-6)
    assert torch.allclose(large, large.flip(0), atol=1e-6)
    near = table.view(13, 13, 4)[5:8, 5:8]
    for window in (5, 12, 24):
        rows = 2 * window - 1
        resized = resize_bias_table(table, rows * rows).view(rows, rows, 4)
        assert torch.allclose(resized[window - 2 : window + 1, window - 2 : window + 1], near, atol=1e-5)
    corner = resize_bias_table(table, 529).view(23, 23, 4)[0, 0]
    assert torch.allclose(corner, table[0], atol=1e-4)
    with pytest.raises(ValueError, match="square"):
        resize_bias_table(torch.zeros(170, 1), 529)


def test_the_grid_of_offsets_grows_geometrically_from_one_step() -> None:
    """From window 7 to 12, as at 224 and 384 pixels: q solves 1 + q + ... + q^5 = 11."""
    offsets = geometric_offsets(6, 11)
    assert offsets == pytest.approx(-offsets[::-1])
    steps = np.diff(offsets[6:])
    assert steps[0] == pytest.approx(1)
    roots = np.roots([1, 1, 1, 1, 1, 1 - 11])
    (q,) = roots[(abs(roots.imag) < 1e-9) & (roots.real > 0)].real
    assert steps[1:] / steps[:-1] == pytest.approx(np.full(5, q))
    assert offsets[-1] == pytest.approx(11)
    assert geometric_offsets(6, 6) == pytest.approx(np.arange(-6, 7))


def test_x2vlm_gives_its_text_and_cross_layers(official: dict[str, Tensor], config: RunConfig, tmp_path: Path) -> None:
    """A ``cross_encoder`` of its own; a vision tower of another kind is refused, or left out by name."""
    state: dict[str, Tensor] = {"vision_encoder.blocks.0.gamma_1": torch.ones(8), "mlm_head.bias": torch.ones(3)}
    for key, value in official.items():
        if key.startswith("text_encoder.bert.encoder.layer."):
            number, tail = key.split(".layer.")[1].split(".", 1)
            tower = "text_encoder.bert" if int(number) < 2 else "cross_encoder"
            state[f"{tower}.encoder.layer.{int(number) % 2}.{tail}"] = value
        elif key.startswith("text_encoder"):
            state[key] = value
    given = save(tmp_path / "x2.th", {"model": state})
    with pytest.raises(PretrainedError, match=r"1 unexpected: vision_encoder\.blocks\.0\.gamma_1"):
        load_pretrained(build(config, 1), given)
    model = build(config, 1)
    report = load_pretrained(model, given.model_copy(update={"parts": ("text",)}))
    assert report is not None
    assert "vision_encoder.blocks.0.gamma_1" in report.ignored
    assert all(name.startswith("vision_encoder.") for name in report.fresh if "encoder" in name)
    key = "text_encoder.bert.encoder.layer.3.crossattention.self.key.weight"
    assert torch.equal(model.state_dict()["cross_encoder.layers.1.crossattention.self.key.weight"], official[key])


def test_teachers_start_from_the_same_weights(
    trained: XVLM, official: dict[str, Tensor], config: RunConfig, tmp_path: Path
) -> None:
    given = save(tmp_path / "x.th", official)
    teacher = DFXVLM(config.model, config.teacher, config.input_spec, OTHER_TASK, {"flow": 3})
    before = torch.get_rng_state()
    assert load_pretrained(teacher, given) is not None
    assert torch.equal(torch.get_rng_state(), before)
    name = "cross_encoder.layers.0.crossattention.self.key.weight"
    assert torch.equal(teacher.xvlm.state_dict()[name], trained.state_dict()[name])
    assert load_pretrained(PrivilegedOnly(config.model, config.teacher, OTHER_TASK, {"flow": 3}), given) is None


def test_files_that_are_no_checkpoints_are_named(tmp_path: Path) -> None:
    (tmp_path / "words.th").write_text("no tensors")
    torch.save({"model": {"a": 1}}, tmp_path / "numbers.th")
    torch.save({"model": Path("x")}, tmp_path / "objects.th")
    for name, reason in (("words", "not a checkpoint"), ("numbers", "no state"), ("objects", "not a checkpoint")):
        with pytest.raises(PretrainedError, match=rf"{name}\.th: .*{reason}"):
            read_official(tmp_path / f"{name}.th")
    with pytest.raises(PretrainedError, match=r"none\.th: there is no such file"):
        require_sources(PretrainedConfig(kind="xvlm", checkpoint=str(tmp_path / "none.th")))


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.th"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    given = PretrainedConfig(kind="xvlm", checkpoint=str(path), sha256={"checkpoint": digest})
    require_sources(given)
    path.write_bytes(b"others")
    with pytest.raises(PretrainedError, match=r"x\.th: not the file"):
        require_sources(given)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "xvlm"},
        {"kind": "hf"},
        {"kind": "hf", "checkpoint": "a"},
        {"kind": "xvlm", "checkpoint": "a", "bert": "b"},
        {"kind": "xvlm", "checkpoint": "a", "swin": "b"},
        {"kind": "hf", "swin": "a", "sha256": {"bert": "0"}},
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PretrainedConfig.model_validate(fields)
