"""Decision: logits -> calibrated scores and flags, through the contract, counted for drift."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from contract.bundle import Bundle
from contract.decision import Modality, TaskDecision, decide
from service.errors import InferenceFailed
from service.metrics import Metrics


def decide_and_count(
    logits: Mapping[str, NDArray[np.float32]],
    bundle: Bundle,
    modalities: frozenset[Modality],
    arm: str,
    metrics: Metrics,
) -> dict[str, TaskDecision]:
    """Every task's decision under the bundle's policy; supported ones are counted in ``cpfd_score``.

    Raises:
        InferenceFailed: the model gave logits that are not finite.
    """
    try:
        decisions = decide(logits, bundle.manifest.tasks, bundle.manifest.policy, modalities)
    except ValueError as error:
        raise InferenceFailed("the model gave no usable answer; the operator was told") from error
    for name, decision in decisions.items():
        if decision.supported:
            metrics.score.labels(arm, name).observe(decision.flag_score)
            metrics.flagged.labels(arm, name).inc(int(decision.flagged))
    return decisions
