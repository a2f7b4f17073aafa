"""The monitor: every experiment as this pod sees it, and the hand that stops an arm."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import partial

from contract.bundle import Bundle
from contract.decision import TaskDecision
from service.context import RequestContext
from service.experiment.configuration import NO_EXPERIMENT, ExperimentSettings
from service.experiment.plan import Assignment, Plan
from service.experiment.watch.guardrails import ERROR_RATE, P99, SHIFT
from service.experiment.watch.stops import Stops
from service.experiment.watch.tally import Tally
from service.logs import FIELDS
from service.metrics import Metrics

log = logging.getLogger(__name__)


class Monitor:
    """Watches assignments and how they end.

    Args:
        plan: the experiments.
        settings: guardrails, and where stopped arms stand.
        bundles: by arm name.
        metrics: where it shows.

    Raises:
        StartError: the stop file cannot be used.
    """

    def __init__(
        self, plan: Plan, settings: ExperimentSettings, bundles: Mapping[str, Bundle], metrics: Metrics
    ) -> None:
        self.plan = plan
        self.since_ms = time.time_ns() // 1_000_000
        self._settings = settings
        self._metrics = metrics
        self.tallies: dict[str, Tally] = {}
        for experiment in plan.experiments.values():
            arms = dict.fromkeys((plan.default_arm, *experiment.arms, *plan.arms))
            references = {arm: bundles[arm].reference for arm in arms}
            self.tallies[experiment.name] = Tally(experiment.name, references, plan.default_arm, settings.guardrails)
        pairs = [(e.name, arm) for e in plan.experiments.values() for arm in plan.arms]
        digests = {name: bundle.digest for name, bundle in bundles.items()}
        self.stops = Stops(settings.stop_file, settings.stop_poll_seconds, digests, pairs, metrics)
        self.stops.on_resume = lambda experiment, arm: self.tallies[experiment].forget(arm)
        self._said: set[tuple[str, str, str]] = set()
        self._show()

    def _show(self) -> None:
        for name, tally in self.tallies.items():
            self._metrics.sample_ratio_evidence.labels(name).set_function(partial(_ratio, tally))
            experiment = self.plan.experiments[name]
            for arm in experiment.arms:
                self._metrics.arm_assignments.labels(name, arm)
                if arm in tally.guardrails:
                    for guardrail in tally.guardrails[arm].evidence():
                        shown = self._metrics.guardrail_evidence.labels(name, arm, guardrail)
                        shown.set_function(partial(_evidence, tally, arm, guardrail))

    def exposed(self, context: RequestContext, assignment: Assignment) -> None:
        """A request was assigned."""
        self._metrics.arm_assignments.labels(assignment.experiment, assignment.arm).inc()
        context.assignment, context.assigned = assignment, time.monotonic()
        if assignment.experiment != NO_EXPERIMENT:
            context.seen = self.tallies[assignment.experiment].exposed(assignment)

    def scored(self, context: RequestContext, decisions: Mapping[str, TaskDecision]) -> None:
        """A request got its verdict."""
        if context.seen is not None:
            context.seen.scores = {name: d.flag_score for name, d in decisions.items() if d.supported}

    def ended(self, context: RequestContext, outcome: str) -> None:
        """A request is over; asked once for each, also for those that were assigned to no arm."""
        assignment = context.assignment
        if assignment is None or not assignment.compared:
            return
        tally = self.tallies[assignment.experiment]
        latency_ms = (time.monotonic() - context.assigned) * 1000
        tally.count(assignment.arm, outcome, latency_ms)
        if context.seen is None:
            return
        for arm, (guardrail, evidence) in tally.ended(
            context.seen, failed=outcome == "failed", latency_ms=latency_ms
        ).items():
            self._breached(tally, arm, guardrail, evidence)

    def _breached(self, tally: Tally, arm: str, guardrail: str, evidence: float) -> None:
        if (tally.name, arm) in self.stops.stopped:
            return
        reason = f"{_SAYS.get(guardrail) or _shift(tally, arm, guardrail)} (evidence {evidence:.2f} of 1)"
        if self._settings.guardrails.stop:
            self.stops.stop(tally.name, arm, guardrail, reason)
        elif (key := (tally.name, arm, guardrail)) not in self._said:
            self._said.add(key)
            fields = {"experiment": tally.name, "arm": arm, "guardrail": guardrail, "cause": reason}
            log.error("a guardrail is broken, and nothing stops the arm", extra={FIELDS: fields})

    def paired(
        self,
        experiment: str,
        arm: str,
        given: Mapping[str, TaskDecision],
        shadow: Mapping[str, TaskDecision],
    ) -> None:
        """A shadow has answered beside the arm that decided."""
        pairs = self.tallies[experiment].pairs[arm]
        pairs.done += 1
        for task, decision in shadow.items():
            other = given.get(task)
            if decision.supported and other is not None and other.supported:
                pairs.compared[task] += 1
                pairs.disagreed[task] += decision.flagged != other.flagged
                self._metrics.shadow_disagreements.labels(arm, task).inc(int(decision.flagged != other.flagged))

    def start(self) -> None:
        self.stops.start()

    async def close(self) -> None:
        await self.stops.close()


_SAYS = {
    ERROR_RATE: "it fails more often than the default arm by more than experiment.guardrails.error_rate_margin",
    P99: "over 1 % of its answers are later than experiment.guardrails.p99_ms, more than of the default arm's",
}


def _shift(tally: Tally, arm: str, guardrail: str) -> str:
    task = guardrail.removeprefix(SHIFT)
    psi = tally.shifts[arm].tasks[task].psi
    return f"its scores of {task} are not those of its reference: population stability index {psi:.2f}"


def _ratio(tally: Tally) -> float:
    return tally.ratio_evidence


def _evidence(tally: Tally, arm: str, guardrail: str) -> float:
    return tally.guardrails[arm].evidence()[guardrail]
