"""The assigner: a request -> its arm, recorded before anything that an arm does can fail."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from pydantic import SecretStr

from contract.decision_log import Exposure, name_hash
from service.bearer import shows_token
from service.context import RequestContext
from service.errors import InvalidField, Unauthorized
from service.experiment.arms import Arm, Arms
from service.experiment.plan import Assignment, Plan, Units
from service.experiment.record import DecisionSink
from service.experiment.watch.monitor import Monitor

FORCE_HEADER = "X-Force-Arm"


def forced_arm(arm: str | None, authorization: str | None, secret: SecretStr | None, plan: Plan) -> str | None:
    """The arm that a caller chooses; None where he chooses none.

    Args:
        arm, authorization: of ``X-Force-Arm`` and ``Authorization``.
        secret: what the bearer's token must be; None: nobody may choose.
        plan: which arms there are.

    Raises:
        Unauthorized: he may not.
        InvalidField: there is no such arm.
    """
    if arm is None:
        return None
    if secret is None or not shows_token(authorization, secret):
        raise Unauthorized(f"{FORCE_HEADER} needs the operator's token as Authorization: Bearer, or leave it out")
    if arm not in plan.arms:
        raise InvalidField(f"{FORCE_HEADER} must be one of {', '.join(plan.arms)}")
    return arm


class Assigner:
    """Assigns requests.

    Args:
        plan: who is in which experiment.
        arms: what answers.
        monitor: counts.
        sink: takes the exposures.
    """

    def __init__(self, plan: Plan, arms: Arms, monitor: Monitor, sink: DecisionSink) -> None:
        self._plan = plan
        self._arms = arms
        self._monitor = monitor
        self._sink = sink

    async def assign(self, units: Units, context: RequestContext, content_digest: str, media_digest: str | None) -> Arm:
        """The request's arm, once the exposure is recorded.

        Args:
            units: what it may stick by.
            context: takes arm and assignment.
            content_digest: of the video's bytes and the texts.
            media_digest: of the video's bytes; None: there are none.

        Raises:
            NotReady: the arm is not loaded yet.
            ServiceError: the exposure cannot be recorded, and settings say that then nothing may happen.
        """
        with context.in_stage("assignment"):
            found = self._found(units, context)
            arm = self._arms.of(found.arm)
            context.arm, context.bundle = arm.name, arm.bundle.digest[:12]
            self._monitor.exposed(context, found)
            exposure = _exposure(found, units, context.decision_id, content_digest, media_digest)
        with context.in_stage("log"):
            await self._sink.append(exposure)
        return arm

    def _found(self, units: Units, context: RequestContext) -> Assignment:
        now = datetime.now(UTC)
        if context.forced_arm is not None:
            return self._plan.force(units, context.forced_arm, now)
        return self._plan.assign(units, now, self._monitor.stops.stopped)


def _exposure(
    found: Assignment, units: Units, decision_id: str, content_digest: str, media_digest: str | None
) -> Exposure:
    return Exposure(
        decision_id=decision_id,
        time_ms=time.time_ns() // 1_000_000,
        experiment=found.experiment,
        arm=found.arm,
        forced=found.forced,
        holdout=found.holdout,
        unit=found.unit,
        unit_hash=found.unit_hash,
        video_hash=None if units.video_id is None else name_hash(units.video_id),
        content_digest=content_digest,
        media_digest=media_digest,
    )
