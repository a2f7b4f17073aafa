"""Which tasks of a checkpoint are good enough to be served, by the report of its experiment.

A verdict that a coin could give is not served. A task is left out (its answers say ``supported: false`` and why) where

- its ROC-AUC on held-out rows is not above 0.5, beyond the interval;
- its PR-AUC is not above that of a control that looks at the file or the place alone, beyond the interval;
- at its threshold it flags more than a stated share of the rows that it should let pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contract.decision import DecisionPolicy
from training.fitting.checkpoint import CheckpointCard

MAX_OVERKILL = 0.5
"""Share of negatives: beyond it a flag says less than none."""
_FREE_CONTROLS = ("container_only", "background_only")


def unserved_tasks(
    card: CheckpointCard, report: Mapping[str, Any], max_overkill: float = MAX_OVERKILL
) -> dict[str, str]:
    """Task -> why its verdicts are not served.

    Args:
        card: of the checkpoint.
        report: of its experiment.
        max_overkill: the largest share of held-out negatives that may be flagged.
    """
    found = {task.name: _reason(report["tasks"][task.name], card.method, max_overkill) for task in card.tasks}
    return {name: reason for name, reason in found.items() if reason is not None}


def with_unserved(policy: DecisionPolicy, unserved: Mapping[str, str]) -> DecisionPolicy:
    """The policy under which the tasks named are answered as unsupported, each with its reason."""
    tasks = {name: one.model_copy(update={"unserved": unserved.get(name)}) for name, one in policy.tasks.items()}
    return DecisionPolicy(tasks=tasks)


def _reason(task: Mapping[str, Any], method: str, max_overkill: float) -> str | None:
    own = task["methods"].get(method)
    if own is None:
        return "the report does not judge this method"
    low = _low(own["roc_auc"])
    if low is None or low <= 0.5:
        return f"no better than chance on held-out rows: ROC-AUC {_in_words(own['roc_auc'])}"
    for control in _FREE_CONTROLS:
        pair = task["comparisons"].get(f"{method} - {control}", {}).get("pr_auc")
        if pair is not None and not pair["interval"][0] > 0:
            low, high = pair["interval"]
            return f"no better than the control {control}: PR-AUC {pair['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
    overkill = own["overkill"]["mean"]
    if overkill is not None and overkill > max_overkill:
        return f"its threshold flags {overkill:.0%} of held-out negatives"
    return None


def _low(metric: Mapping[str, Any]) -> float | None:
    interval = metric["interval"]
    return None if interval is None else float(interval[0])


def _in_words(metric: Mapping[str, Any]) -> str:
    if metric["interval"] is None:
        return "undefined"
    low, high = metric["interval"]
    return f"{metric['mean']:.3f} [{low:.3f}, {high:.3f}]"
