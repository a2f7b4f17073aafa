"""Decision: what the contract decides, and what drift is told of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.bundle import Bundle, read_bundle
from contract.decision import Modality, TaskKind, decide
from service.errors import InferenceFailed
from service.metrics import Metrics
from service.stages.decision import decide_and_count
from tests.synthetic_bundle import write_synthetic_bundle

BOTH = frozenset(Modality)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    home: Path = tmp_path_factory.mktemp("decision")
    return read_bundle(write_synthetic_bundle(home / "bundle"))


def logits_of(bundle: Bundle, level: float) -> dict[str, NDArray[np.float32]]:
    """Far up they raise every flag, far down none: of a multiclass task the last logit alone, of others all."""
    found = {task.name: np.zeros(task.logits_width, np.float32) for task in bundle.manifest.tasks}
    for task in bundle.manifest.tasks:
        found[task.name][slice(-1, None) if task.kind is TaskKind.MULTICLASS else slice(None)] = level
    return found


def sample(metrics: Metrics, name: str, task: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"arm": "b", "task": task})


@pytest.mark.parametrize("level", [-9.0, 9.0])
def test_the_decisions_are_the_contracts_and_each_is_counted_under_its_arm_and_task(
    bundle: Bundle, level: float
) -> None:
    metrics, logits = Metrics(), logits_of(bundle, level)
    found = decide_and_count(logits, bundle, BOTH, "b", metrics)
    assert found == decide(logits, bundle.manifest.tasks, bundle.manifest.policy, BOTH)
    assert found
    for name, decision in found.items():
        assert decision.flagged == (level > 0)
        assert sample(metrics, "cpfd_score_count", name) == 1
        assert sample(metrics, "cpfd_score_sum", name) == pytest.approx(decision.flag_score)
        assert sample(metrics, "cpfd_flagged_total", name) == int(decision.flagged)


def test_an_answer_that_is_not_supported_is_no_part_of_drift(bundle: Bundle) -> None:
    metrics = Metrics()
    found = decide_and_count(logits_of(bundle, 9.0), bundle, frozenset({Modality.TEXT}), "b", metrics)
    unsupported = {name for name, decision in found.items() if not decision.supported}
    assert unsupported
    assert unsupported != set(found)
    for name in found:
        counted = sample(metrics, "cpfd_score_count", name)
        assert counted == (None if name in unsupported else 1)


def test_logits_that_are_no_numbers_are_the_services_failure(bundle: Bundle) -> None:
    metrics = Metrics()
    with pytest.raises(InferenceFailed):
        decide_and_count(logits_of(bundle, float("nan")), bundle, BOTH, "b", metrics)
    assert all(sample(metrics, "cpfd_score_count", task.name) is None for task in bundle.manifest.tasks)
