"""Backbones and BERTs from files and packages: all of it is loaded, or nothing and one line that says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertModel

from tests.moment_model import VOCABULARY, moment_config, moment_model
from training.config import PretrainedConfig, WeightSource
from training.data.tokenizer import _SPECIAL, _write_pieces
from training.models.efficientnet_lite import EfficientNetLite
from training.models.moment_xvlm import MomentXVLM
from training.models.weights.encoders import load_encoders
from training.models.weights.install import PretrainedError

PREFIX = "vision_encoder.trunk.pictures."
PIECES = [*_SPECIAL, *(f"word{i}" for i in range(VOCABULARY - len(_SPECIAL)))]


@pytest.fixture(scope="module")
def backbone() -> dict[str, Tensor]:
    """A checkpoint in the public layout: trained statistics of BatchNorm, and a classifier."""
    torch.manual_seed(5)
    state = EfficientNetLite("lite0").state_dict()
    for name, tensor in state.items():
        if name.endswith(("running_mean", "running_var")):
            tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return state | {"_fc.weight": torch.randn(10, 1280), "_fc.bias": torch.randn(10)}


def bert(layers: int = 3, words: int = VOCABULARY, **changes: Any) -> BertConfig:
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 16}
    return BertConfig(vocab_size=words, num_hidden_layers=layers, **sizes | changes)


def sources(**given: Path | str) -> PretrainedConfig:
    encoders = {n: WeightSource(source=str(path), licence="Apache-2.0") for n, path in given.items()}
    return PretrainedConfig(kind="encoders", **encoders)


def tokenizer(path: Path, pieces: list[str]) -> Path:
    _write_pieces(pieces, path)
    return path


def refused(model: MomentXVLM, config: PretrainedConfig, tokenizer: Path | None = None) -> str:
    """The one line of the refusal, once nothing of the model is found changed."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(PretrainedError) as caught:
        load_encoders(model, config, tokenizer)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_backbone_is_loaded_with_its_statistics_and_its_classifier_is_named(
    suffix: str, backbone: dict[str, Tensor], tmp_path: Path
) -> None:
    file = tmp_path / f"weights{suffix}"
    save_file(backbone, file) if suffix == ".safetensors" else torch.save({"state_dict": backbone}, file)
    model = moment_model()
    report = load_encoders(model, sources(vision=file), None)
    own = model.state_dict()
    assert all(torch.equal(own[PREFIX + n], t) for n, t in backbone.items() if not n.startswith("_fc."))
    assert report.ignored == ("_fc.bias", "_fc.weight")
    assert PREFIX + "_blocks.3._bn1.running_var" in report.loaded
    assert not any(name.startswith(PREFIX) for name in report.fresh)
    assert "text_encoder.embeddings.word_embeddings.weight" in report.fresh


def test_every_fault_of_a_backbone_is_in_one_line(backbone: dict[str, Tensor], tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in backbone.items()}
    del state["_bn0.running_mean"], state["_conv_stem.weight"]
    state["_bn1.weight"] = torch.ones(7)
    state["_blocks.2._bn1.running_var"][0] = float("nan")
    state["_blocks.0._se_reduce.weight"] = torch.ones(2)
    torch.save(state, tmp_path / "w.pth")
    line = refused(moment_model(), sources(vision=tmp_path / "w.pth"))
    assert line.startswith(f"{tmp_path / 'w.pth'}: ")
    assert "2 missing: _bn0.running_mean, _conv_stem.weight" in line
    assert "1 of another shape: _bn1.weight (7,), the model's is (1280,)" in line
    assert "1 not finite: _blocks.2._bn1.running_var" in line
    assert "1 unexpected: _blocks.0._se_reduce.weight" in line


def test_a_tensor_of_another_shape_is_named_once(backbone: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(backbone | {"_bn1.weight": torch.full((7,), float("nan"))}, tmp_path / "w.pth")
    assert refused(moment_model(), sources(vision=tmp_path / "w.pth")).count("_bn1.weight") == 1


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_one_clear_line(
    suffix: str, share: float, backbone: dict[str, Tensor], tmp_path: Path
) -> None:
    file = tmp_path / f"weights{suffix}"
    save_file(backbone, file) if suffix == ".safetensors" else torch.save(backbone, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    assert refused(moment_model(), sources(vision=file)).startswith(f"{file}: not a file of tensors, or cut short")


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": Path("x")}, tmp_path / "w.pth")
    assert "not a file of tensors" in refused(moment_model(), sources(vision=tmp_path / "w.pth"))


@pytest.mark.parametrize("held", [{}, {"epoch": 3}, [1, 2]])
def test_a_file_without_a_state_is_refused(held: object, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "w.pth")
    assert "holds no state" in refused(moment_model(), sources(vision=tmp_path / "w.pth"))


def test_nothing_of_a_sound_backbone_is_loaded_beside_a_damaged_text(
    backbone: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(backbone, tmp_path / "w.pth")
    torch.save({"embeddings.LayerNorm.weight": torch.ones(3)}, tmp_path / "t.pth")
    line = refused(moment_model(), sources(vision=tmp_path / "w.pth", text=tmp_path / "t.pth"))
    assert line.startswith(f"{tmp_path / 't.pth'}: ")


@pytest.mark.parametrize("prefixed", [False, True])
def test_the_first_layers_of_a_bert_are_taken(prefixed: bool, tmp_path: Path) -> None:
    torch.manual_seed(3)
    source = (BertForMaskedLM if prefixed else BertModel)(bert())
    source.save_pretrained(tmp_path)
    model = moment_model(moment_config(text={"text_layers": 2}))
    report = load_encoders(model, sources(text=tmp_path), None)
    expected = (source.bert if prefixed else source).state_dict()
    own = model.text_encoder.state_dict()
    for layer in (0, 1):
        for part in ("attention.self.query.weight", "output.LayerNorm.bias"):
            assert torch.equal(own[f"layers.{layer}.{part}"], expected[f"encoder.layer.{layer}.{part}"])
    assert torch.equal(own["embeddings.word_embeddings.weight"], expected["embeddings.word_embeddings.weight"])
    assert "encoder.layer.2.output.dense.weight" in report.ignored
    assert any(name.startswith("cross_encoder.") for name in report.fresh)


def test_a_bert_of_too_few_layers_is_refused(tmp_path: Path) -> None:
    BertModel(bert(layers=1)).save_pretrained(tmp_path)
    line = refused(moment_model(moment_config(text={"text_layers": 2})), sources(text=tmp_path))
    assert "missing: layers.1.attention" in line


def test_longer_position_embeddings_are_cut(tmp_path: Path) -> None:
    source = BertModel(bert(max_position_embeddings=40))
    source.save_pretrained(tmp_path)
    model = moment_model()
    load_encoders(model, sources(text=tmp_path), None)
    rows = source.embeddings.position_embeddings.weight[:16]
    assert torch.equal(model.text_encoder.embeddings.position_embeddings.weight, rows)


def test_a_trimmed_vocabulary_takes_its_rows_piece_by_piece(tmp_path: Path) -> None:
    source = BertModel(bert(words=VOCABULARY + 20))
    source.save_pretrained(tmp_path)
    known = [*(f"extra{i}" for i in range(20)), *PIECES]
    tokenizer(tmp_path / "tokenizer.json", known)
    mixed = [PIECES[i] for i in torch.randperm(VOCABULARY, generator=torch.Generator().manual_seed(1)).tolist()]
    run = tokenizer(tmp_path / "run.json", mixed)
    model = moment_model()
    load_encoders(model, sources(text=tmp_path), run)
    words, theirs = model.text_encoder.embeddings.word_embeddings.weight, source.embeddings.word_embeddings.weight
    for place, piece in enumerate(mixed):
        assert torch.equal(words[place], theirs[known.index(piece)])


def test_a_piece_that_the_source_does_not_know_is_named(tmp_path: Path) -> None:
    BertModel(bert()).save_pretrained(tmp_path)
    tokenizer(tmp_path / "tokenizer.json", PIECES)
    run = tokenizer(tmp_path / "run.json", [*PIECES[:-1], "unheard"])
    assert "knows no piece 'unheard' (1 in all)" in refused(moment_model(), sources(text=tmp_path), run)


def test_another_vocabulary_without_its_pieces_is_refused(tmp_path: Path) -> None:
    BertModel(bert(words=VOCABULARY + 20)).save_pretrained(tmp_path)
    run = tokenizer(tmp_path / "run.json", PIECES)
    assert "brings no tokenizer.json" in refused(moment_model(), sources(text=tmp_path), run)
