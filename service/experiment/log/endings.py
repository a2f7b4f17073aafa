"""How a request ended in its arm -> its Decision, on the disk before the caller is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from contract.bundle import Bundle
from contract.decision_log import OK, Decision, TaskRecord
from contract.errors import InputError
from service.api.schemas import Verdict
from service.context import RequestContext
from service.errors import ClientGone, Draining, LogUnavailable, ServiceError, Unexpected
from service.experiment.log.writer import NullLog


@dataclass
class Ending:
    """How one request ends: filled in while it is at work."""

    verdict: Verdict | None = None


class Endings:
    """Writes the end of each request that was assigned to an arm.

    Args:
        log: takes the records.
        bundles: by arm name.
    """

    def __init__(self, log: NullLog, bundles: Mapping[str, Bundle]) -> None:
        self._log = log
        self._digests = {name: (b.digest, b.manifest.input_spec.digest()) for name, b in bundles.items()}

    @asynccontextmanager
    async def of(self, context: RequestContext, body_bytes: int) -> AsyncIterator[Ending]:
        """Around the work of a request: its end is on the disk once this is left, however it is left.

        Args:
            context: of the request.
            body_bytes: of its body.

        Raises:
            LogUnavailable: it is not, and settings say that then nobody may be told.
        """
        ending = Ending()
        try:
            yield ending
        except asyncio.CancelledError as cancelled:
            # Nobody waits for an answer, so nothing waits for the disk.
            left = cancelled.args[:1] == (ClientGone.code,)
            if self._kept(context):
                code = ClientGone.code if left else Draining.code
                self._log.offer(self._decision(context, body_bytes, code, None))
            raise
        except LogUnavailable:
            raise
        except Exception as error:
            code = error.code if isinstance(error, ServiceError | InputError) else Unexpected.code
            await self._append(context, body_bytes, code)
            raise
        await self._append(context, body_bytes, OK, ending.verdict)

    async def _append(
        self, context: RequestContext, body_bytes: int, code: str, verdict: Verdict | None = None
    ) -> None:
        if self._kept(context):
            stage = context.stage
            with context.in_stage("log"):
                await self._log.append(self._decision(context, body_bytes, code, verdict))
            context.stage = stage  # a refusal names where the request was, not that it was logged

    def _kept(self, context: RequestContext) -> bool:
        return self._log.kept and context.assignment is not None

    def _decision(self, context: RequestContext, body_bytes: int, code: str, verdict: Verdict | None) -> Decision:
        assert context.assignment is not None
        bundle_digest, spec_digest = self._digests[context.arm]
        read: dict[str, Any] = {}
        if verdict is not None:
            read["modalities"] = verdict.modalities
            read["frame_times_ms"] = tuple(frame.time_ms for frame in verdict.frames)
            read["tasks"] = {
                name: TaskRecord(
                    scores=task.scores,
                    label=task.label,
                    flag_score=task.flag_score,
                    threshold=task.threshold,
                    flagged=task.flagged,
                    supported=task.supported,
                    evidence=tuple((moment.time_ms, moment.score) for moment in task.evidence),
                )
                for name, task in verdict.tasks.items()
            }
        return Decision(
            decision_id=context.decision_id,
            time_ms=time.time_ns() // 1_000_000,
            experiment=context.assignment.experiment,
            arm=context.arm,
            code=code,
            bundle_digest=bundle_digest,
            input_spec_digest=spec_digest,
            latency_ms=context.elapsed_ms(),
            timings_ms=dict(context.so_far()),
            bytes=body_bytes,
            **{name: context.costs.get(name, 0.0) for name in ("decode_cpu_s", "model_cpu_s")},
            **read,
        )
