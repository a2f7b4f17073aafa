"""Swin, BERT and ELECTRA as Hugging Face stores them, and training that starts from weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import BertConfig, BertModel, ElectraConfig, ElectraModel, SwinConfig, SwinModel

from contract.bundle import file_digest
from tests.unit.training.conftest import Toy
from tests.unit.training.models.test_models import TASKS
from training.config import PretrainedConfig, RunConfig
from training.data.privileged import PrivilegedStatistics
from training.distillation.registry import METHODS
from training.experiment.plan import ExperimentPlan, Workplace, plan_trials
from training.experiment.run import run
from training.fitting.checkpoint import read_checkpoint
from training.fitting.fit import PRETRAINED_FILE, fit
from training.models.weights.install import PretrainedError
from training.models.weights.sources import load_pretrained, require_sources
from training.models.xvlm import XVLM
from training.teachers.trial_teachers import Teachers

_SIZES = {"vocab_size": 400, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 16}


@pytest.fixture(scope="module")
def config(tiny_config: RunConfig) -> RunConfig:
    text = tiny_config.model.text.model_copy(update={"embedding_size": 32})
    return tiny_config.model_copy(update={"model": tiny_config.model.model_copy(update={"text": text})})


@pytest.fixture(scope="module")
def swin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swin")
    sizes = {"image_size": 32, "embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
    torch.manual_seed(1)
    SwinModel(SwinConfig(**sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(2)
    BertModel(BertConfig(hidden_size=32, num_hidden_layers=2, **_SIZES)).save_pretrained(folder)
    return folder


def model_of(config: RunConfig) -> XVLM:
    torch.manual_seed(0)
    return XVLM(config.model, config.input_spec, TASKS)


def test_swin_and_bert_fill_their_layers(swin: Path, bert: Path, config: RunConfig) -> None:
    model = model_of(config)
    report = load_pretrained(model, PretrainedConfig(kind="hf", swin=str(swin), bert=str(bert)))
    assert report is not None
    ours = model.state_dict()
    source = SwinModel.from_pretrained(swin, add_pooling_layer=False).state_dict()
    assert all(torch.equal(ours[f"vision_encoder.swin.{name}"], value) for name, value in source.items())
    text = BertModel.from_pretrained(bert).state_dict()
    for ours_name, layer in (("text_encoder.layers.0", 0), ("cross_encoder.layers.0", 1)):
        for part in ("attention.self.query.weight", "output.LayerNorm.bias", "intermediate.dense.weight"):
            assert torch.equal(ours[f"{ours_name}.{part}"], text[f"encoder.layer.{layer}.{part}"])
    assert "cross_encoder.layers.0.crossattention.self.key.weight" in report.fresh
    assert {name.split(".")[0] for name in report.ignored} == {"pooler"}


def test_one_source_leaves_the_other_side_fresh(bert: Path, config: RunConfig) -> None:
    model, untouched = model_of(config), model_of(config)
    load_pretrained(model, PretrainedConfig(kind="hf", bert=str(bert)))
    vision = [name for name in untouched.state_dict() if name.startswith("vision_encoder.")]
    assert all(torch.equal(model.state_dict()[name], untouched.state_dict()[name]) for name in vision)
    assert not torch.equal(
        model.text_encoder.embeddings.word_embeddings.weight, untouched.text_encoder.embeddings.word_embeddings.weight
    )


def test_electra_brings_its_projection(tmp_path: Path, tiny_config: RunConfig) -> None:
    torch.manual_seed(3)
    source = ElectraModel(ElectraConfig(embedding_size=16, hidden_size=32, num_hidden_layers=2, **_SIZES))
    source.save_pretrained(tmp_path)
    model = model_of(tiny_config)
    load_pretrained(model, PretrainedConfig(kind="hf", bert=str(tmp_path)))
    assert torch.equal(model.text_encoder.project.weight, source.embeddings_project.weight)


def test_a_deeper_bert_is_refused_by_name(tmp_path: Path, config: RunConfig) -> None:
    BertModel(BertConfig(hidden_size=32, num_hidden_layers=3, **_SIZES)).save_pretrained(tmp_path)
    with pytest.raises(PretrainedError, match=r"16 unexpected: encoder\.layer\.2"):
        load_pretrained(model_of(config), PretrainedConfig(kind="hf", bert=str(tmp_path)))


def test_sources_are_checked_before_weights_are_read(swin: Path, bert: Path, tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match=r"nothing: cannot be read \(pretrained\.swin\)"):
        require_sources(PretrainedConfig(kind="hf", swin=str(tmp_path / "nothing")))
    with pytest.raises(PretrainedError, match=r"holds a bert, pretrained\.swin must be swin"):
        require_sources(PretrainedConfig(kind="hf", swin=str(bert)))
    good = file_digest(swin / "model.safetensors")
    require_sources(PretrainedConfig(kind="hf", swin=str(swin), sha256={"swin": good}))
    with pytest.raises(PretrainedError, match=r"model\.safetensors: not the file"):
        require_sources(PretrainedConfig(kind="hf", swin=str(swin), sha256={"swin": "0" * 64}))


def test_weights_that_lack_a_layer_are_refused(bert: Path, config: RunConfig, tmp_path: Path) -> None:
    """The library fills what is missing with noise; here it is an error."""
    model = BertModel.from_pretrained(bert)
    state = {name: value for name, value in model.state_dict().items() if "layer.1.output.dense" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(PretrainedError, match=r"2 missing: encoder\.layer\.1\.output\.dense\.bias"):
        load_pretrained(model_of(config), PretrainedConfig(kind="hf", bert=str(tmp_path)))


def test_students_and_teachers_train_from_the_weights(toy: Toy, swin: Path, config: RunConfig, tmp_path: Path) -> None:
    still = config.optimiser.model_copy(update={"lr": 1e-12, "epochs": 1, "weight_decay": 0.0})
    given = PretrainedConfig(kind="hf", swin=str(swin))
    started = config.model_copy(update={"optimiser": still, "pretrained": given})
    statistics = PrivilegedStatistics.fit(toy.parts["train"].rows, toy.manifest.privileged_groups)
    joint = next(name for name, method in METHODS.items() if method.teacher == "joint")
    fit(tmp_path / "ce", toy.data, started, method="ce", seed=1)
    fit(tmp_path / "teacher", toy.data, started, method="ce", seed=1, statistics=statistics)
    fit(tmp_path / "joint", toy.data, started, method=joint, seed=1, statistics=statistics, role="student")
    name = "vision_encoder.swin.embeddings.patch_embeddings.projection.weight"
    source = SwinModel.from_pretrained(swin).embeddings.patch_embeddings.projection.weight
    for directory, prefix in (("ce", ""), ("teacher", "xvlm."), ("joint", "")):
        trained = read_checkpoint(tmp_path / directory)[0].state_dict()[prefix + name]
        assert torch.allclose(trained, source, atol=1e-6)
        report = json.loads((tmp_path / directory / PRETRAINED_FILE).read_text())
        assert report["sha256"] == {"swin": file_digest(swin / "model.safetensors")}
        assert name in report["loaded"]
        assert "no_video" in report["fresh"]


def test_a_larger_teacher_has_weights_of_its_own(toy: Toy, swin: Path, config: RunConfig, tmp_path: Path) -> None:
    own = {"kd_teacher": config.model, "kd_teacher_pretrained": PretrainedConfig(kind="hf", swin=str(swin))}
    statistics = PrivilegedStatistics.fit(toy.parts["train"].rows, toy.manifest.privileged_groups)
    teachers = Teachers(tmp_path, toy.data, config.model_copy(update=own), statistics, seed=1)
    card = teachers.get("plain_large").card
    assert card.config.pretrained == own["kd_teacher_pretrained"]
    assert (tmp_path / "teacher_plain_large" / PRETRAINED_FILE).exists()
    teachers.get("plain")
    assert not (tmp_path / "teacher_plain" / PRETRAINED_FILE).exists()
    with pytest.raises(ValidationError, match="no kd_teacher"):
        RunConfig.model_validate(config.model_dump() | {"kd_teacher_pretrained": own["kd_teacher_pretrained"]})


def test_an_experiment_without_the_vocabulary_or_the_file_does_not_start(
    toy: Toy, bert: Path, config: RunConfig, tmp_path: Path
) -> None:
    for source, reason in ((str(bert), "--vocabulary"), (str(tmp_path / "gone"), "gone: cannot be read")):
        started = config.model_copy(update={"pretrained": PretrainedConfig(kind="hf", bert=source)})
        plan = ExperimentPlan(
            trials=plan_trials(toy.manifest, 1), config=started, manifest_digest=toy.manifest.digest()
        )
        with pytest.raises(PretrainedError, match=reason):
            run(toy.manifest, plan, Workplace(tmp_path / "runs", tmp_path / "cache", vocabulary=None))
    assert not (tmp_path / "runs").exists()


def test_a_vocabulary_of_another_size_is_refused(toy: Toy, bert: Path, config: RunConfig, tmp_path: Path) -> None:
    """Fewer pieces would do for weights of our own; pretrained embeddings would stand for other words."""
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]) + "\n")
    started = config.model_copy(update={"pretrained": PretrainedConfig(kind="hf", bert=str(bert))})
    plan = ExperimentPlan(trials=plan_trials(toy.manifest, 1), config=started, manifest_digest=toy.manifest.digest())
    with pytest.raises(ValueError, match=r"7 pieces, the model's text\.vocab_size is 400"):
        run(toy.manifest, plan, Workplace(tmp_path / "runs", tmp_path / "cache", vocabulary))


def test_a_configuration_without_weights_keeps_its_digest(tiny_config: RunConfig) -> None:
    document = tiny_config.model_dump(mode="json")
    assert not {"pretrained", "kd_teacher", "kd_teacher_pretrained"} & set(document)
    given = tiny_config.model_copy(update={"pretrained": PretrainedConfig(kind="hf", swin="a")})
    assert RunConfig.model_validate(given.model_dump(mode="json")) == given
    assert given.digest() != tiny_config.digest()
