"""X-VLM and DF-X-VLM: shapes, missing modalities, independence of batch-mates, order of frames."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from contract.decision import TaskKind, TaskSpec
from training.config import FusionName, RunConfig, TeacherConfig, read_config
from training.models.df_xvlm import DFXVLM
from training.models.xvlm import XVLM

TASKS = (
    TaskSpec(name="a", kind=TaskKind.BINARY, labels=("no", "yes")),
    TaskSpec(name="b", kind=TaskKind.MULTICLASS, labels=("x", "y", "z"), flag_labels=("z",)),
    TaskSpec(name="c", kind=TaskKind.MULTILABEL, labels=("p", "q")),
)


def inputs(config: RunConfig, batch: int = 4, length: int = 7, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, *config.input_spec.frames_shape)
    return {
        "frames": torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator),
        "input_ids": torch.randint(0, 400, (batch, length), generator=generator),
        "attention_mask": torch.ones(batch, length, dtype=torch.int64),
        "video_present": torch.ones(batch, dtype=torch.bool),
        "text_present": torch.ones(batch, dtype=torch.bool),
    }


@pytest.fixture
def student(tiny_config: RunConfig) -> XVLM:
    torch.manual_seed(0)
    return XVLM(tiny_config.model, tiny_config.input_spec, TASKS).eval()


def close(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)


@torch.no_grad()
def test_logits_have_the_tasks_widths(student: XVLM, tiny_config: RunConfig) -> None:
    logits = student(**inputs(tiny_config))
    assert {name: tuple(value.shape) for name, value in logits.items()} == {"a": (4, 1), "b": (4, 3), "c": (4, 2)}


@torch.no_grad()
def test_batch_equals_single(student: XVLM, tiny_config: RunConfig) -> None:
    batch = inputs(tiny_config)
    batch["video_present"][1] = False
    batch["text_present"][2] = False
    batch["attention_mask"][3, 5:] = 0
    together = student(**batch)
    for row in range(4):
        alone = student(**{name: value[row : row + 1] for name, value in batch.items()})
        assert close(alone, {name: value[row : row + 1] for name, value in together.items()})


@torch.no_grad()
def test_padding_changes_nothing(student: XVLM, tiny_config: RunConfig) -> None:
    short = inputs(tiny_config)
    padded = dict(short)
    padded["input_ids"] = torch.cat([short["input_ids"], torch.full((4, 4), 9)], dim=1)
    padded["attention_mask"] = torch.cat([short["attention_mask"], torch.zeros(4, 4, dtype=torch.int64)], dim=1)
    assert close(student(**short), student(**padded))


@torch.no_grad()
def test_frames_of_an_absent_clip_are_not_read(student: XVLM, tiny_config: RunConfig) -> None:
    batch = inputs(tiny_config)
    batch["video_present"][:] = torch.tensor([True, False, True, False])
    other = dict(batch, frames=batch["frames"].clone())
    other["frames"][1] = 255 - other["frames"][1]
    one, two = student(**batch), student(**other)
    assert close(one, two)
    other["frames"][0] = 255 - other["frames"][0]
    assert not close(one, student(**other))


@torch.no_grad()
def test_a_text_only_batch_equals_the_same_rows_among_clips(student: XVLM, tiny_config: RunConfig) -> None:
    batch = inputs(tiny_config)
    batch["video_present"][:2] = False
    mixed = student(**batch)
    alone = student(**{name: value[:2] for name, value in batch.items()})
    assert close(alone, {name: value[:2] for name, value in mixed.items()})


@torch.no_grad()
def test_order_of_frames_matters(student: XVLM, tiny_config: RunConfig) -> None:
    batch = inputs(tiny_config)
    backwards = dict(batch, frames=batch["frames"].flip(1))
    assert not close(student(**batch), student(**backwards))


@pytest.mark.parametrize("fusion", get_args(FusionName))
def test_a_teacher_reads_its_groups_and_masks_absent_ones(fusion: str, tiny_config: RunConfig) -> None:
    torch.manual_seed(0)
    teacher_config = TeacherConfig.model_validate({"fusion": fusion, "hidden_size": 16})
    teacher = DFXVLM(tiny_config.model, teacher_config, tiny_config.input_spec, TASKS, {"flow": 3, "counts": 2}).eval()
    if fusion == "film":
        for film in teacher.films.values():
            torch.nn.init.normal_(film.weight)  # at first the groups do nothing
    batch = inputs(tiny_config)
    values, presence = torch.randn(4, 3), torch.ones(4, 3)
    presence[2:] = 0

    def answer(flow: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return teacher(**batch, privileged={"flow": (flow, presence), "counts": (torch.zeros(4, 2),) * 2})

    one, two = answer(values), answer(values + 3)
    for name in one:
        assert not torch.allclose(one[name][:2], two[name][:2], atol=1e-7)
        assert torch.allclose(one[name][2:], two[name][2:], atol=1e-6)


@torch.no_grad()
def test_film_starts_as_the_student(tiny_config: RunConfig) -> None:
    """Scale 1 and shift 0 (arXiv:1709.07871), whatever the groups say."""
    torch.manual_seed(0)
    teacher = DFXVLM(tiny_config.model, TeacherConfig(fusion="film"), tiny_config.input_spec, TASKS, {"flow": 3})
    batch, flow = inputs(tiny_config), (torch.randn(4, 3), torch.ones(4, 3))
    assert close(teacher.eval()(**batch, privileged={"flow": flow}), teacher.xvlm(**batch))


def test_every_parameter_of_a_student_learns(student: XVLM, tiny_config: RunConfig) -> None:
    batch = inputs(tiny_config)
    batch["video_present"][0] = False
    batch["text_present"][1] = False
    torch.stack([value.square().sum() for value in student(**batch).values()]).sum().backward()
    unused = [name for name, p in student.named_parameters() if p.grad is None]
    assert unused == []


def test_the_base_preset_has_the_published_sizes() -> None:
    """method.md 3.1: Swin-B's 86.743 M and BERT-base with six cross layers, built without weights."""
    config = read_config(Path(__file__).resolve().parents[4] / "configs" / "base.yaml")
    with torch.device("meta"):
        student = XVLM(config.model, config.input_spec, TASKS)

    def count(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    assert count(student.vision_encoder.swin) == pytest.approx(86.743e6, abs=500)
    text = count(student.text_encoder) + count(student.cross_encoder)
    assert text == pytest.approx(125.434e6, abs=500)
