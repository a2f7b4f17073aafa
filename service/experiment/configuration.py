"""Which experiments there are: the sections of the settings that upstream needs as well, to reproduce an assignment.

Two forms. ``arms`` with their weights and one ``experiment`` over all units; or a list ``experiments``, each over a
part of a layer.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, model_validator

from contract.decision_log import Unit

NO_EXPERIMENT = "none"
"""Where a request is in no experiment."""
_NAME = r"^[A-Za-z0-9._-]{1,64}$"
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A frozen group of settings whose fields are documented below themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True)


class ArmSettings(Section):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    """Shown in ``X-Arm``, in the reply and as a metric label."""
    bundle: Path
    """Directory of the bundle, relative to the working directory."""
    weight: Weight
    """Share of the traffic, relative to the other arms' weights."""


DEFAULT_ARMS = (
    ArmSettings(name="baseline", bundle=Path("bundles/xvlm-baseline"), weight=50),
    ArmSettings(name="student", bundle=Path("bundles/cpfd-student"), weight=50),
)


class RampStep(Section):
    since: AwareDatetime = Field(alias="from")
    """When the weights begin to hold, with its offset from UTC."""
    weights: dict[str, Weight]
    """Arm -> weight; an arm that is not named has none."""

    @model_validator(mode="after")
    def _somebody_answers(self) -> RampStep:
        if sum(self.weights.values()) <= 0:
            raise ValueError("weights: at least one must be above 0")
        return self


class Shape(Section):
    """What every experiment has."""

    unit: Unit = "video_id"
    """What sticks to one arm: `video_id` (without one, the content), `account_id` (a request without one is in no
    experiment) or `content`: the SHA-256 of the video's bytes, of the texts where there is no video."""
    holdout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the units that are left out: the default arm answers them, and they are no part of the comparison."""
    ramp: tuple[RampStep, ...] = ()
    """Weights by date, ascending: entries `{from: 2026-12-01T00:00:00Z, weights: {student: 10, baseline: 90}}`. Before
    the first one the arms' own weights hold."""

    @model_validator(mode="after")
    def _ascending(self) -> Shape:
        if any(before.since >= after.since for before, after in pairwise(self.ramp)):
            raise ValueError("ramp: steps must ascend in time")
        return self


class ListedExperiment(Shape):
    name: str = Field(pattern=_NAME)
    """Shown in the reply; part of the assignment hash."""
    salt: str = Field(default="cpfd-1", min_length=1, max_length=128)
    """Changing it reshuffles which units see which arm."""
    layer: str = Field(default="default", pattern=_NAME)
    """Experiments of one layer share its hash space, have one unit, and no unit is in two of them. Of several
    layers, the first experiment in the list that takes the request decides."""
    part: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] = (0.0, 1.0)
    """From where to where in the layer's hash space, the end excluded."""
    arms: dict[str, Weight] = Field(default_factory=dict)
    """Arm -> weight; empty: the weights of `arms`."""

    @model_validator(mode="after")
    def _has_a_part_and_weights(self) -> ListedExperiment:
        if self.part[0] >= self.part[1]:
            raise ValueError("part must ascend")
        if self.arms and sum(self.arms.values()) <= 0:
            raise ValueError("arms: at least one weight must be above 0")
        return self


class GuardrailSettings(Section):
    stop: bool = True
    """Whether a breached guardrail takes an arm out. False: it is shown and alerted on only. The default arm is never
    taken out: somebody has to answer."""
    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Probability at most that an arm without fault is ever taken out, however often it is looked at; shared among the
    guardrails of one arm. Also the level of the sample ratio's test."""
    error_rate_margin: float = Field(default=0.01, gt=0, lt=1)
    """An arm may fail (`failed` in cpfd_requests) more often than the default arm by so much."""
    p99_ms: float = Field(default=5000.0, gt=0)
    """An arm breaks its objective where over 1 % of its answers take longer, from assignment to answer, and a larger
    share than of the default arm's."""
    max_psi: float = Field(default=0.25, gt=0)
    """An arm's flag scores may differ from its bundle's reference by so much (population stability index) without any
    doubt. Not tested where the default arm's differ too: then the traffic has moved, not the arm."""


class ExperimentSettings(Shape):
    name: str = Field(default="baseline-vs-student", pattern=_NAME)
    """Shown in the reply; part of the assignment hash. Of no use where `experiments` are listed, as are `salt`, `unit`,
    `holdout` and `ramp`."""
    salt: str = Field(default="cpfd-1", min_length=1, max_length=128)
    """Changing it reshuffles which units see which arm."""
    default_arm: str | None = None
    """Answers what is in no experiment, what is held out, and what had a stopped arm if no other has a weight. Others
    are compared with it. None: the first of `arms`."""
    force_token: SecretStr | None = Field(default=None, min_length=16)
    """Secret that a request must show as `Authorization: Bearer` to choose its arm by `X-Force-Arm`. None: nobody may.
    Give it by the environment: files of settings are no place for secrets."""
    stop_file: Path | None = None
    """File on a volume of all pods in which stopped arms stand: a pod that stops an arm writes it, and every pod obeys
    it. None: each pod stops for itself, until it restarts."""
    stop_poll_seconds: float = Field(default=5.0, gt=0)
    """How often it is read."""
    shadow_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of the work that the other arms of the experiment do as well, after the reply and only where a lane is
    idle: their answers are logged and compared, and told to nobody."""
    shadow_queue: int = Field(default=16, ge=1, le=1024)
    """Clips, as frames, that may wait for a shadow; the oldest is dropped."""
    guardrails: GuardrailSettings = GuardrailSettings()


class Experiments(BaseModel):
    """The sections together; what else stands in a file of settings is not looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    arms: tuple[ArmSettings, ...] = DEFAULT_ARMS
    experiment: ExperimentSettings = ExperimentSettings()
    experiments: tuple[ListedExperiment, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Experiments:
        check(self.arms, self.experiment, self.experiments)
        return self


def read_experiments(path: Path) -> Experiments:
    """The experiments of a service's YAML file.

    Raises:
        OSError, ValueError: it cannot be read, or is no such file.
    """
    try:
        loaded: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML") from error
    return Experiments.model_validate(loaded)


def check(arms: tuple[ArmSettings, ...], experiment: ExperimentSettings, listed: tuple[ListedExperiment, ...]) -> None:
    """Raises ValueError where the sections contradict each other."""
    names = [arm.name for arm in arms]
    if not names or len(set(names)) != len(names):
        raise ValueError("arms must be one or more with different names")
    if sum(arm.weight for arm in arms) <= 0:
        raise ValueError("arms: at least one weight must be above 0")
    if experiment.default_arm is not None:
        _known({experiment.default_arm}, names, "experiment.default_arm")
    if listed and (experiment.ramp or experiment.holdout):
        raise ValueError("experiment.ramp and experiment.holdout are of the single form: put them into `experiments`")
    everyone: list[Shape] = list(listed) or [experiment]
    for shape in everyone:
        for step in shape.ramp:
            _known(step.weights, names, "ramp")
    for one in listed:
        _known(one.arms, names, f"experiments: {one.name}")
    titles = [one.name for one in listed] or [experiment.name]
    if len(set(titles)) != len(titles) or NO_EXPERIMENT in titles:
        raise ValueError(f"experiments must have different names, and none may be {NO_EXPERIMENT}")
    for layer in {one.layer for one in listed}:
        _check_layer(layer, [one for one in listed if one.layer == layer])


def _known(names: Collection[str], arms: list[str], where: str) -> None:
    if strangers := sorted(set(names) - set(arms)):
        raise ValueError(f"{where}: there is no arm {strangers[0]}")


def _check_layer(layer: str, held: list[ListedExperiment]) -> None:
    if len({one.unit for one in held}) > 1:
        raise ValueError(f"experiments: those of layer {layer} must have one unit")
    for before, after in pairwise(sorted(held, key=lambda one: one.part)):
        if before.part[1] > after.part[0]:
            raise ValueError(f"experiments: {before.name} and {after.name} overlap in layer {layer}")
