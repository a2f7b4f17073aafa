"""Rates and decay of what is trained."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from training.config import OptimiserConfig
from training.fitting.loop import learning_rate_factor, parameter_groups


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_rate_rises_over_the_warm_up_and_falls_to_zero(schedule: str) -> None:
    options = OptimiserConfig(warmup_share=0.1, schedule=schedule)
    factors = [learning_rate_factor(step, 100, options) for step in range(103)]
    assert factors[:11] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0])
    assert all(later < earlier for earlier, later in pairwise(factors[10:101]))
    assert factors[55] == pytest.approx(0.5)
    assert factors[100:] == [0.0, 0.0, 0.0]
    quarter = {"linear": 26 / 90, "cosine": (1 - math.cos(math.pi * 26 / 90)) / 2}[schedule]
    assert factors[74] == pytest.approx(quarter)


def _tree(names: list[str]) -> tuple[nn.Module, dict[str, Tensor]]:
    root = nn.Module()
    for name in names:
        *path, last = name.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, nn.Module())
            module = getattr(module, part)
        module.register_parameter(last, nn.Parameter(torch.zeros(2 if last in ("bias", "norm") else (2, 2))))
    return root, dict(root.named_parameters())


EXPECTED = {
    "head.weight": (1.0, 0.1),
    "head.bias": (1.0, 0.0),
    "vision_encoder.frame_position": (1.0, 0.0),
    "vision_encoder.project.weight": (1.0, 0.1),
    "vision_encoder.trunk.weight": (0.2, 0.1),
    "vision_encoder.trunk.norm": (0.2, 0.0),
    "vision_encoder.swin.relative_position_bias_table": (0.2, 0.0),
    "student.text_encoder.layer.weight": (0.2, 0.1),
    "text_encoder.embeddings.position_embeddings.weight": (0.2, 0.0),
    "no_video": (1.0, 0.0),
    "student.no_text": (1.0, 0.0),
    "moment_heads.violence.weight": (1.0, 0.0),
    "ngrams.weights.weight": (3.0, 0.1),
}


@pytest.mark.parametrize("rates", [{"encoder_lr": 0.2, "ngram_lr": 3.0}, {}])
def test_each_trained_parameter_is_in_one_group_by_rate_and_decay(rates: dict[str, float]) -> None:
    model, parameters = _tree([*EXPECTED, "text_encoder.frozen.weight"])
    parameters["text_encoder.frozen.weight"].requires_grad_(False)
    names = {parameter: name for name, parameter in parameters.items()}
    groups = parameter_groups(model, OptimiserConfig(lr=1.0, weight_decay=0.1, **rates))
    found = [(names[p], (group["lr"], group["weight_decay"])) for group in groups for p in group["params"]]
    expected = EXPECTED if rates else {name: (1.0, decay) for name, (_, decay) in EXPECTED.items()}
    assert len(found) == len(EXPECTED)
    assert dict(found) == expected
