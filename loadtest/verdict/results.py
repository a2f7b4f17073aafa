"""All that a run came to, from its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.measurement.figures import Figures, StageSummary, by_arm, by_kind, figures, summarise
from loadtest.measurement.samples import Beat, Record, Sample
from loadtest.objectives import Objectives
from loadtest.shapes import Plan
from loadtest.verdict.judge import Verdict, judge


@dataclass(frozen=True)
class Results:
    """All that a run came to.

    Attributes:
        plan: what was sent.
        objectives: what was asked.
        stages: figures of each stage.
        overall, arms, kinds: figures of the judged stages together.
        verdict: the answer.
        about: when, where and what: shown as it is.
        samples, beats: what the curves over time are drawn from.
    """

    plan: Plan
    objectives: Objectives
    stages: list[StageSummary]
    overall: Figures
    arms: dict[str, Figures]
    kinds: dict[str, Figures]
    verdict: Verdict
    about: dict[str, str]
    samples: Sequence[Sample]
    beats: Sequence[Beat]


def make_results(plan: Plan, objectives: Objectives, record: Record, about: dict[str, str]) -> Results:
    """The results of a record.

    Args:
        plan: as it was made; stages that were extended are taken as long as they became.
        objectives: what is asked.
        record: what was recorded.
        about: shown as it is.

    Raises:
        ObjectivesError: the objectives judge no stage of the plan.
    """
    for index, seconds in record.extended_s.items():
        plan = plan.extended(index, seconds)
    longer = {"extended by": f"{sum(record.extended_s.values()):g} s"} if record.extended_s else {}
    samples, beats = record.read_samples(), record.read_beats()
    judged = objectives.judges(plan)
    stages = summarise(plan, samples, beats, within_ms=objectives.within_ms, limits=objectives.generator, judged=judged)
    here = [sample for sample in samples if judged[sample.stage]]
    span: dict[str, float] = {
        "seconds": sum(stage.stage.seconds for stage in stages if stage.judged),
        "within_ms": objectives.within_ms,
    }
    return Results(
        plan,
        objectives,
        stages,
        figures(here, **span),
        by_arm(here, **span),
        by_kind(here, **span),
        judge(objectives, stages, here, [beat for beat in beats if judged[beat.stage]], record.ended_s),
        about | longer | {"generator processes": str(record.processes)},
        samples,
        beats,
    )
