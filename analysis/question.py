"""What an analyst asks of an experiment, fixed before the numbers are seen."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contract.frozen import FrozenDocument

Evidence = Literal["split", "paired"]


class Question(FrozenDocument):
    """The comparison and the rules by which it is decided."""

    experiment: str | None = None
    """Its name; may be left out where the log holds one experiment."""
    control: str | None = None
    """The arm that serves today; may be left out where one arm's name says it is the baseline or the control."""
    treatment: str | None = None
    """The arm that may replace it; may be left out where there are two arms."""
    shares: dict[str, float] = Field(default_factory=dict)
    """Arm -> weight it was planned with; equal where nothing is said."""
    since_ms: int | None = None
    """Exposures before it are left out: the last change of the weights."""
    until_ms: int | None = None
    """Exposures from it on are left out."""
    sources: tuple[str, ...] = ()
    """Feedback from these alone; all where empty."""
    positive: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Task -> the labels that should raise its flag; read off the scores where nothing is said."""
    primary: Literal["f1", "precision", "recall", "overkill", "vv_leakage", "vv_overkill", "brier"] = "f1"
    """The metric that decides."""
    margin: float = Field(default=0.02, ge=0)
    """By how much the treatment may be worse in it and still replace the control."""
    evidence: Evidence = "split"
    """Whether the two arms' units or the shadow pairs decide."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Chance of a false finding, over all tasks and all looks together."""
    planned_units: int = Field(default=1000, ge=1)
    """Units with a label that counts at which the confidence sequences are narrowest; must not be chosen by results."""
    min_units: int = Field(default=200, ge=2)
    """Units of each arm with a label that counts, below which a task is not judged: sequences are asymptotic.

    At 100, recall with one unit in ten treated was found to differ in 5.2 % of equal arms, at 200 in 2.0 % (the dated
    document of ``analysis simulate``).
    """
    max_p50_ratio: float = Field(default=1.1, gt=0)
    """Guardrail: treatment's p50 latency over control's."""
    max_p99_ratio: float = Field(default=1.1, gt=0)
    """Guardrail: the same of p99."""
    max_error_rise: float = Field(default=0.005, ge=0)
    """Guardrail: treatment's share of requests without a verdict, less control's."""
    max_cost_ratio: float = Field(default=1.1, gt=0)
    """Guardrail: treatment's cost per 1,000 verdicts over control's."""
    cpu_hour_price: float | None = Field(default=None, gt=0)
    """Of a CPU hour, in any currency; cost is told in CPU seconds without it."""
    replicates: int = Field(default=1000, ge=100)
    """Of the bootstrap."""
    seed: int = 0
    """Of the bootstrap."""
