"""What an arm's bundle records of its scores on held-out rows, shown beside the scores that are given now."""

from __future__ import annotations

from itertools import pairwise

from prometheus_client.utils import floatToGoString

from contract.reference import SCORE_BOUNDS, ScoreReference
from service.metrics import Metrics


def show_reference(metrics: Metrics, arm: str, reference: ScoreReference | None) -> None:
    """Sets the reference's gauges; there are none of an arm whose bundle holds no reference."""
    if reference is None:
        return
    bins = list(pairwise(map(floatToGoString, (0.0, *SCORE_BOUNDS))))  # as the histogram's own ``le`` is written
    for task, found in reference.tasks.items():
        metrics.reference_rows.labels(arm, task).set(found.rows)
        for (above, bound), share in zip(bins, found.shares(), strict=True):
            metrics.reference_score_share.labels(arm, task, bound, above).set(share)
