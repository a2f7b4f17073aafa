"""Samples -> figures: of all requests and of each arm, stage by stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.measurement.headroom import Headroom, headroom
from loadtest.measurement.queue import Queue, queue_of
from loadtest.measurement.samples import NO_ARM, Beat, Outcome, Sample, percentile
from loadtest.objectives import GeneratorLimits
from loadtest.shapes import Plan, Stage


@dataclass(frozen=True)
class Figures:
    """What a group of requests came to.

    Requests whose client left on purpose are counted in ``gone`` and nowhere else. Latency is that of verdicts, from
    when the request was due.

    Attributes:
        requests: all but those gone.
        answered, refused, shed, failed, gone: by outcome.
        retried: sent again to another host.
        p50_ms, p95_ms, p99_ms, max_ms: latency of verdicts; nan without any.
        error_rate, shed_rate: shares of ``requests``.
        goodput_share: share of ``requests`` answered or refused as they should be, within the objective's time.
        goodput_per_s: the same as a rate.
        codes: how often each code other than ``ok``.
    """

    requests: int
    answered: int
    refused: int
    shed: int
    failed: int
    gone: int
    retried: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    error_rate: float
    shed_rate: float
    goodput_share: float
    goodput_per_s: float
    codes: dict[str, int]


@dataclass(frozen=True)
class StageSummary:
    """A stage of the plan and what came of it.

    Attributes:
        stage: as planned.
        begins_s: since the plan began.
        offered_per_s: arrivals that there were, a second.
        overall: figures of all requests.
        arms: figures of each arm.
        generator: how the generator fared.
        judged: whether the objectives are asked of it.
        queue: whether the queue grew.
    """

    stage: Stage
    begins_s: float
    offered_per_s: float
    overall: Figures
    arms: dict[str, Figures]
    generator: Headroom
    judged: bool
    queue: Queue


def figures(samples: Sequence[Sample], *, seconds: float, within_ms: float) -> Figures:
    """The figures of ``samples``, which were due within ``seconds``.

    Args:
        samples: of one group.
        seconds: for rates.
        within_ms: an answer later than this is no goodput.
    """
    outcomes = Counter(sample.outcome for sample in samples)
    requests = len(samples) - outcomes[Outcome.GONE]
    latencies_ms = [1000 * s.latency_s for s in samples if s.outcome is Outcome.ANSWERED]
    good = sum(s.outcome in (Outcome.ANSWERED, Outcome.REFUSED) and 1000 * s.latency_s <= within_ms for s in samples)
    return Figures(
        requests=requests,
        answered=outcomes[Outcome.ANSWERED],
        refused=outcomes[Outcome.REFUSED],
        shed=outcomes[Outcome.SHED],
        failed=outcomes[Outcome.FAILED],
        gone=outcomes[Outcome.GONE],
        retried=sum(s.retries for s in samples),
        p50_ms=percentile(latencies_ms, 0.50),
        p95_ms=percentile(latencies_ms, 0.95),
        p99_ms=percentile(latencies_ms, 0.99),
        max_ms=percentile(latencies_ms, 1.0),
        error_rate=outcomes[Outcome.FAILED] / max(1, requests),
        shed_rate=outcomes[Outcome.SHED] / max(1, requests),
        goodput_share=good / max(1, requests),
        goodput_per_s=good / seconds,
        codes=dict(Counter(s.code for s in samples if s.code != "ok").most_common()),
    )


def by_arm(samples: Sequence[Sample], *, seconds: float, within_ms: float) -> dict[str, Figures]:
    """The figures of each arm that is named in ``samples``; what no arm answered is in none."""
    arms = sorted({sample.arm for sample in samples} - {NO_ARM})
    return {arm: figures([s for s in samples if s.arm == arm], seconds=seconds, within_ms=within_ms) for arm in arms}


def by_kind(samples: Sequence[Sample], *, seconds: float, within_ms: float) -> dict[str, Figures]:
    """The figures of each kind of message."""
    kinds = sorted({sample.kind for sample in samples})
    return {
        kind: figures([s for s in samples if s.kind == kind], seconds=seconds, within_ms=within_ms) for kind in kinds
    }


def summarise(
    plan: Plan,
    samples: Sequence[Sample],
    beats: Sequence[Beat],
    *,
    within_ms: float,
    limits: GeneratorLimits,
    judged: Sequence[bool],
) -> list[StageSummary]:
    """Each stage's figures; ``judged`` says of which the objectives are asked."""
    found, flights = [], [sample.flight for sample in samples]
    for index, (stage, begins_s) in enumerate(zip(plan.stages, plan.starts(), strict=True)):
        here = [sample for sample in samples if sample.stage == index]
        found.append(
            StageSummary(
                stage=stage,
                begins_s=begins_s,
                offered_per_s=len(here) / stage.seconds,
                overall=figures(here, seconds=stage.seconds, within_ms=within_ms),
                arms=by_arm(here, seconds=stage.seconds, within_ms=within_ms),
                generator=headroom([b for b in beats if b.stage == index], here, limits),
                judged=judged[index],
                queue=queue_of(flights, begins_s, begins_s + stage.seconds),
            )
        )
    return found
