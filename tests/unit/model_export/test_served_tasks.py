"""Tasks that learnt nothing are left out of what is served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from contract.decision import DecisionPolicy, TaskKind, TaskPolicy, TaskSpec
from model_export.served_tasks import unserved_tasks, with_unserved
from training.fitting.checkpoint import CheckpointCard

TASK = TaskSpec(name="violence", kind=TaskKind.BINARY, labels=("calm", "violent"))
OTHER = TaskSpec(name="spam", kind=TaskKind.BINARY, labels=("ham", "spam"))
CARD = CheckpointCard.model_construct(method="cpfd", tasks=(TASK,))


def _task(
    auc: Sequence[float] | None = (0.7, 0.9), overkill: float | None = 0.1, **controls: list[float]
) -> dict[str, Any]:
    """A task of a report, its gains over controls given by their intervals."""
    return {
        "methods": {
            "cpfd": {
                "roc_auc": {"mean": None if auc is None else sum(auc) / 2, "interval": auc},
                "overkill": {"mean": overkill},
            }
        },
        "comparisons": {
            f"cpfd - {name}": {"pr_auc": {"difference": sum(interval) / 2, "interval": interval}}
            for name, interval in controls.items()
        },
    }


def _reason(task: dict[str, Any], **options: float) -> str | None:
    return unserved_tasks(CARD, {"tasks": {"violence": task}}, **options).get("violence")


def test_a_good_task_is_served() -> None:
    assert _reason(_task(container_only=[0.05, 0.2], background_only=[0.01, 0.3])) is None
    assert _reason(_task()) is None  # no control to compare with


@pytest.mark.parametrize("interval", [[0.4, 0.9], [0.5, 0.9], [0.1, 0.3], None])
def test_a_task_at_chance_is_not(interval: list[float] | None) -> None:
    reason = _reason(_task(auc=interval))
    assert reason is not None
    assert reason.startswith("no better than chance on held-out rows: ROC-AUC ")
    assert reason.endswith("undefined" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]")


@pytest.mark.parametrize("control", ["container_only", "background_only"])
@pytest.mark.parametrize("interval", [[0.0, 0.2], [-0.1, 0.2], [-0.3, -0.1]])
def test_a_task_no_better_than_a_free_control_is_not(control: str, interval: list[float]) -> None:
    reason = _reason(_task(**{"container_only": [0.1, 0.2], "background_only": [0.1, 0.2]} | {control: interval}))
    assert reason is not None
    assert f"no better than the control {control}: PR-AUC" in reason
    assert f"[{interval[0]:+.3f}, {interval[1]:+.3f}]" in reason


def test_other_comparisons_do_not_count() -> None:
    assert _reason(_task(text_only=[-0.3, -0.1])) is None


def test_a_task_that_flags_too_many_negatives_is_not() -> None:
    assert _reason(_task(overkill=0.51)) == "its threshold flags 51% of held-out negatives"
    assert _reason(_task(overkill=0.5)) is None
    assert _reason(_task(overkill=None)) is None
    assert _reason(_task(overkill=0.3), max_overkill=0.2) == "its threshold flags 30% of held-out negatives"


def test_a_method_that_the_report_does_not_judge_is_not_served() -> None:
    task = _task()
    task["methods"] = {"baseline": task["methods"]["cpfd"]}
    assert _reason(task) == "the report does not judge this method"


def test_the_policy_takes_the_reason_and_keeps_the_rest() -> None:
    card = CheckpointCard.model_construct(method="cpfd", tasks=(TASK, OTHER))
    unserved = unserved_tasks(card, {"tasks": {"violence": _task(), "spam": _task(overkill=0.9)}})
    first = TaskPolicy(temperature=2.0, thresholds={"flag": 0.3}, unserved="an older reason")
    policy = with_unserved(DecisionPolicy(tasks={"violence": first, "spam": first}), unserved)
    assert policy.tasks["violence"] == TaskPolicy(temperature=2.0, thresholds={"flag": 0.3})
    assert policy.tasks["spam"].unserved == "its threshold flags 90% of held-out negatives"
    assert policy.tasks["spam"].thresholds == {"flag": 0.3}


def test_a_task_of_too_few_groups_is_not_served_whatever_its_figures() -> None:
    task = _task() | {"verdicts_withheld": "held-out positives stand in 2 groups"}
    assert _reason(task) == "too little data to tell: held-out positives stand in 2 groups"


def test_a_flag_that_falls_on_negatives_as_often_is_not_served() -> None:
    task = _task(overkill=0.3)
    task["methods"]["cpfd"]["miss_rate"] = {"mean": 0.8}
    assert _reason(task) == "its threshold flags 20% of held-out positives and 30% of negatives"
