"""The objectives: a YAML file of what is asked of the service."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import Field, ValidationError, model_validator

from loadtest.frozen import Frozen
from loadtest.shapes import Plan


class ObjectivesError(ValueError):
    """An objectives file that cannot be used, or that asks nothing of the plan."""


class Limits(Frozen):
    """Bounds of one group of requests; what is left out is not asked."""

    p50_ms: float | None = Field(default=None, gt=0)
    p95_ms: float | None = Field(default=None, gt=0)
    p99_ms: float | None = Field(default=None, gt=0)
    error_rate: float | None = Field(default=None, ge=0, le=1)
    shed_rate: float | None = Field(default=None, ge=0, le=1)
    goodput_share: float | None = Field(default=None, ge=0, le=1)
    """At least; all others are at most."""


class Judged(Frozen):
    """Which stages the objectives are asked of: those up to a rate. The steps above it are meant to fail."""

    up_to_load: float | None = Field(default=None, gt=0)
    """As a multiple of the reference rate."""
    up_to_per_s: float | None = Field(default=None, gt=0)
    """In arrivals a second."""

    @model_validator(mode="after")
    def _one(self) -> Judged:
        if self.up_to_load is not None and self.up_to_per_s is not None:
            raise ValueError("name up_to_load or up_to_per_s, not both")
        return self


class GeneratorLimits(Frozen):
    """Beyond these the generator was the limit."""

    max_lag_p95_ms: float = Field(default=50.0, gt=0)
    """95 % of the half seconds must not see a longer overrun of a short sleep."""
    max_late_p99_ms: float = Field(default=100.0, gt=0)
    """99 % of the requests must begin within this of their due time."""
    max_cpu_share: float = Field(default=0.85, gt=0, le=1)
    """CPU time over wall time of one generator process, on average over a stage."""


class Objectives(Frozen):
    """The whole file."""

    judged: Judged = Judged()
    within_ms: float = Field(default=2000.0, gt=0)
    """An answer later than this is no goodput."""
    min_requests: int = Field(default=20, ge=1)
    """Fewer verdicts than this, overall or of an arm named below, fail the test: they show nothing."""
    limits: Limits = Limits()
    """Of all requests, and of each arm by itself."""
    arms: dict[str, Limits] = Field(default_factory=dict)
    """Arms that must be seen, each with what differs from ``limits``."""
    max_arm_ratio: float | None = Field(default=None, gt=1)
    """The slowest arm's p50 over the fastest one's."""
    min_capacity_per_s: float | None = Field(default=None, gt=0)
    """The highest rate, of the plan's stages, up to which ``limits`` hold at every stage."""
    generator: GeneratorLimits = GeneratorLimits()

    def judges(self, plan: Plan) -> list[bool]:
        """Of each stage, whether it is judged.

        Raises:
            ObjectivesError: none is.
        """
        found = [
            (self.judged.up_to_load is None or stage.load <= self.judged.up_to_load)
            and (self.judged.up_to_per_s is None or stage.per_s <= self.judged.up_to_per_s)
            for stage in plan.stages
        ]
        if not any(found):
            least = min(stage.per_s for stage in plan.stages)
            raise ObjectivesError(f"judged: the plan's lowest rate is {least:g}/s, above what is judged")
        return found

    def limits_of(self, arm: str) -> Limits:
        """The arm's limits: the common ones, and over them its own."""
        own = self.arms.get(arm, Limits())
        return self.limits.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


def read_objectives(path: Path) -> Objectives:
    """The objectives in ``path``.

    Raises:
        ObjectivesError: no such file, or not what it should be; one line.
    """
    try:
        return Objectives.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ObjectivesError(f"{path}: {faults}") from error
    except (OSError, yaml.YAMLError) as error:
        raise ObjectivesError(f"{path}: {' '.join(str(error).split())}") from error
