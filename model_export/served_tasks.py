"""Which tasks of a checkpoint are good enough to be served, by the report of its experiment.

A verdict that a coin could give is not served. The rule is the report's own (``training.evaluation.shipping``); a task
that fails it is left out: its answers say ``supported: false`` and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contract.decision import DecisionPolicy
from training.evaluation.shipping import MAX_OVERKILL, ShipVerdict, judge
from training.fitting.checkpoint import CheckpointCard


def unserved_tasks(
    card: CheckpointCard, report: Mapping[str, Any], max_overkill: float = MAX_OVERKILL, *, final: bool = False
) -> dict[str, str]:
    """Task -> why its verdicts are not served.

    Args:
        card: of the checkpoint.
        report: of its experiment.
        max_overkill: the largest share of held-out negatives that may be flagged.
        final: whether the checkpoint has seen every fold.
    """
    verdicts = {
        task.name: judge(report["tasks"][task.name], card.method, max_overkill, final=final) for task in card.tasks
    }
    return {name: _why(verdict) for name, verdict in verdicts.items() if verdict.decision != "ship"}


def with_unserved(policy: DecisionPolicy, unserved: Mapping[str, str]) -> DecisionPolicy:
    """The policy under which the tasks named are answered as unsupported, each with its reason."""
    tasks = {name: one.model_copy(update={"unserved": unserved.get(name)}) for name, one in policy.tasks.items()}
    return DecisionPolicy(tasks=tasks)


def _why(verdict: ShipVerdict) -> str:
    return f"too little data to tell: {verdict.reason}" if verdict.decision == "too_little_data" else verdict.reason
