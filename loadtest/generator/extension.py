"""Extends stages of a run, while it lasts, until it is decided whether their queue grows."""

from __future__ import annotations

from collections.abc import Callable

from loadtest.measurement.queue import QueueState
from loadtest.shapes import Plan

MOST = 4
"""A stage becomes at most so many times as long as it was planned."""


def extend_stages(
    plan: Plan,
    left_s: float,
    *,
    lead_s: float,
    wait_until: Callable[[float], object],
    queue_state: Callable[[float, float], QueueState],
    extend: Callable[[int, float], object],
) -> None:
    """Looks at each stage shortly before its end; doubles it where its queue is not decided.

    Returns once a queue grows: what comes after it, at higher rates, is no capacity.

    Args:
        plan: the run's.
        left_s: how much longer all stages together may take.
        lead_s: how long before a stage's end it is looked at: by its end every process must know whether it goes on.
        wait_until: so many seconds since the plan began.
        queue_state: of the stage that began and will end then, by what is known of it now.
        extend: tells all processes that a stage takes so many seconds longer.
    """
    for index, planned in enumerate(plan.stages):
        while left_s > 0:
            begins_s, ends_s = plan.starts()[index], plan.ends_at(index)
            wait_until(ends_s - lead_s)
            state = queue_state(begins_s, ends_s)
            if state is QueueState.GROWING:
                return
            seconds = plan.stages[index].seconds
            if state is QueueState.STATIONARY or seconds >= MOST * planned.seconds:
                break
            more_s = min(seconds, left_s)
            plan, left_s = plan.extended(index, more_s), left_s - more_s
            extend(index, more_s)
