"""The live view: ``GET /experiments/{name}``, what this pod has seen of one experiment since it started."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from contract.decision_log import Unit
from service.experiment.stop_file import Stop
from service.experiment.watch.monitor import Monitor
from service.experiment.watch.tally import ArmTally, Pairs

SEES = (
    "What this pod saw since it started. Units reach pods at random, so shares, the sample ratio and guardrails hold "
    "for a pod alone, with less evidence than all pods have; counts do not add up to the experiment's, a unit may have "
    "been seen by several pods, and a restart begins anew. Stopped arms are those of the stop file, and of this pod. "
    "The decision log has it all, and effects are for the analysis: nothing here says which arm is better."
)


class Shown(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PairsView(Shown):
    """An arm's shadow answers beside those that were given by others."""

    done: int
    compared: dict[str, int]
    """Task -> pairs in which both arms support it."""
    disagreed: dict[str, int]
    """Task -> those in which one flags and the other does not."""


class ArmView(Shown):
    weight: float
    """Probability with which a new unit has it now; 0 where it is stopped."""
    requests: int
    """Part of the comparison: neither forced nor held out."""
    units: int
    """Among them, those of a unit that was seen for the first time: what tests count."""
    forced: int
    held_out: int
    outcomes: dict[str, int]
    """How those requests ended: answered, refused, shed, failed, expired, gone."""
    p50_ms: float | None
    """Of the last answers, from assignment to answer; null before there are any."""
    p99_ms: float | None
    guardrails: dict[str, float]
    """Guardrail -> evidence that it is broken, as a share of what stops the arm, on a log scale: 1 and over is a
    breach. The default arm has none."""
    psi: dict[str, float]
    """Task -> population stability index of its flag scores against its bundle's reference."""
    shadow: PairsView


class SampleRatioView(Shown):
    evidence: float
    """That units reach arms otherwise than by their weights, as a share of what is called a mismatch, on a log scale. A
    Dirichlet-multinomial mixture (Lindon and Malek, arXiv:2011.03567): it may be looked at all the time."""
    mismatch: bool
    """Then nothing else here can be trusted."""


class ExperimentView(Shown):
    """One experiment as one pod sees it."""

    name: str
    unit: Unit
    default_arm: str
    pod: str
    since: str
    """When this pod began to count."""
    sees: str
    """What one pod can see, and what it cannot."""
    sample_ratio: SampleRatioView
    arms: dict[str, ArmView]
    stopped: tuple[Stop, ...]


def view_of(monitor: Monitor, name: str) -> ExperimentView | None:
    """The view of an experiment; None where there is none of this name."""
    tally, experiment = monitor.tallies.get(name), monitor.plan.experiments.get(name)
    if tally is None or experiment is None:
        return None
    weights = experiment.weights(datetime.now(UTC), monitor.stops.stopped)
    evidence = tally.ratio_evidence
    return ExperimentView(
        name=name,
        unit=experiment.unit,
        default_arm=monitor.plan.default_arm,
        pod=socket.gethostname(),
        since=datetime.fromtimestamp(monitor.since_ms / 1000, UTC).isoformat(timespec="seconds"),
        sees=SEES,
        sample_ratio=SampleRatioView(evidence=round(evidence, 4), mismatch=evidence >= 1),
        arms={
            arm: _arm(
                weights.get(arm, 0.0),
                tally.arms[arm],
                tally.guardrails[arm].evidence() if arm in tally.guardrails else {},
                {task: shift.psi for task, shift in tally.shifts[arm].tasks.items()},
                tally.pairs[arm],
            )
            for arm in tally.arms
        },
        stopped=monitor.stops.of(name),
    )


def _arm(weight: float, tally: ArmTally, guardrails: dict[str, float], psi: dict[str, float], pairs: Pairs) -> ArmView:
    return ArmView(
        weight=weight,
        requests=tally.requests,
        units=tally.units,
        forced=tally.forced,
        held_out=tally.held_out,
        outcomes=dict(tally.outcomes),
        p50_ms=tally.quantile_ms(0.5),
        p99_ms=tally.quantile_ms(0.99),
        guardrails={name: round(share, 4) for name, share in guardrails.items()},
        psi={task: round(found, 4) for task, found in psi.items()},
        shadow=PairsView(done=pairs.done, compared=dict(pairs.compared), disagreed=dict(pairs.disagreed)),
    )
