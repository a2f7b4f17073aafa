"""Paired shadows: after a reply, the experiment's other arms read the same frames, and nobody waits for them.

A scavenger. One runs at a time, begins only while a lane is idle and a core is left for whoever comes next, and is
given up between two graphs or moments of the clip when a caller needs the lane. It is no part of admission, of a
caller's latency, nor of what the service learns about how long work takes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.decision import Modality, TaskDecision, decide
from contract.decision_log import OK, Decision, TaskRecord
from contract.example import ModelInputs, assemble
from contract.input_spec import InputSpec
from contract.model_graphs import FEATURES
from service.errors import NotReady
from service.experiment.arms import Arm, Arms
from service.experiment.configuration import ExperimentSettings
from service.experiment.plan import Assignment
from service.experiment.record import DecisionSink
from service.experiment.watch.monitor import Monitor
from service.logs import FIELDS
from service.metrics import Metrics
from service.scheduling.backlog import Backlog
from service.stages.inference import GaveWay, Lanes
from service.stages.tokenisation import tokenise

log = logging.getLogger(__name__)
OUTCOMES = ("attempted", "done", "shed", "skipped", "stopped", "failed")
_LOOK_S = 0.02


@dataclass(frozen=True)
class Given:
    """What was read and answered: all that a shadow needs.

    Attributes:
        decision_id: of the answer.
        assignment: of the request.
        arm: that answered.
        inputs: what its model read.
        features: (M, F) of its vision tower, where that was kept.
        texts: as they were sent: an arm reads them with its own tokenizer.
        decisions: what it decided.
        modalities: what was read.
    """

    decision_id: str
    assignment: Assignment
    arm: Arm
    inputs: ModelInputs
    features: NDArray[np.float32] | None
    texts: Mapping[str, str]
    decisions: Mapping[str, TaskDecision]
    modalities: tuple[Modality, ...]


class Scavenger:
    """Runs shadows.

    Args:
        settings: how many.
        arms: the models.
        lanes: shared with the callers' work.
        backlog: how much of that there is.
        monitor: which arms, and where pairs are compared.
        sink: takes the records.
        metrics: where it shows.
    """

    def __init__(
        self,
        settings: ExperimentSettings,
        arms: Arms,
        lanes: Lanes,
        backlog: Backlog,
        monitor: Monitor,
        sink: DecisionSink,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._arms = arms
        self._lanes = lanes
        self._backlog = backlog
        self._monitor = monitor
        self._sink = sink
        self._metrics = metrics
        self._waiting: deque[tuple[Given, str]] = deque()
        self._arrived = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None
        self._closed = False
        metrics.shadow_rate.set(settings.shadow_rate)
        for arm in monitor.plan.arms:
            for outcome in OUTCOMES:
                metrics.shadows.labels(arm, outcome)

    def start(self) -> None:
        if self._settings.shadow_rate > 0:
            self._owner = asyncio.create_task(self._own(), name="shadows")

    async def close(self) -> None:
        """What waits is dropped; what runs ends at its next moment."""
        self._closed = True
        if self._owner is not None:
            self._owner.cancel()
            await asyncio.gather(self._owner, return_exceptions=True)

    def wants(self, decision_id: str) -> bool:
        """Whether this answer is one of those that get shadows: drawn by its id, which is random."""
        return int(decision_id[:8], 16) / 2**32 < self._settings.shadow_rate

    def offer(self, given: Given) -> None:
        """Queues the other arms' shadows of an answer that was sent."""
        experiment = self._monitor.plan.experiments.get(given.assignment.experiment)
        if self._owner is None or self._closed or experiment is None or not given.assignment.compared:
            return
        for arm in experiment.named:
            if arm == given.arm.name:
                continue
            self._count(arm, "attempted")
            if (experiment.name, arm) in self._monitor.stops.stopped:
                self._count(arm, "stopped")
                continue
            if len(self._waiting) == self._settings.shadow_queue:
                self._count(self._waiting.popleft()[1], "shed")
            self._waiting.append((given, arm))
            self._arrived.set()

    async def _own(self) -> None:
        while True:
            await self._arrived.wait()
            while self._waiting:
                if not self._idle():
                    # Nobody tells when a lane falls idle; a look costs microseconds.
                    await asyncio.sleep(_LOOK_S)
                    continue
                given, arm = self._waiting.popleft()
                self._count(arm, await self._outcome(given, arm))
            self._arrived.clear()

    def _idle(self) -> bool:
        """Whether a lane is free, and on a CPU, where lanes and decoding share the cores, one more beside it."""
        if self._lanes.free.locked():
            return False
        return not self._lanes.shares_cores or self._backlog.count < max(1, self._lanes.count - 1)

    def _needed(self) -> bool:
        """Whether a caller needs what the shadow holds. Asked on the lane's thread: it only reads."""
        if self._closed or self._lanes.waiting > 0:
            return True
        return self._lanes.shares_cores and self._backlog.count >= self._lanes.count

    async def _outcome(self, given: Given, name: str) -> str:
        try:
            arm = self._arms.of(name)
            inputs = _inputs(given, arm)
            if inputs is None:
                return "skipped"
            await self._lanes.free.acquire()  # it is free: this does not wait
            try:
                await self._run(given, arm, inputs)
            finally:
                self._lanes.free.release()
        except (GaveWay, NotReady):
            return "shed"
        except Exception:
            log.exception("a shadow failed", extra={FIELDS: {"arm": name, "decision_id": given.decision_id}})
            return "failed"
        return "done"

    async def _run(self, given: Given, arm: Arm, inputs: ModelInputs) -> None:
        began, cpu_s = time.monotonic(), 0.0
        shared = arm.model.vision_digest is not None and arm.model.vision_digest == given.arm.model.vision_digest
        features = given.features if shared else None

        def infer() -> dict[str, NDArray[np.float32]]:
            nonlocal cpu_s
            before = time.thread_time()
            try:
                return arm.model.infer_giving_way(inputs, self._needed, features)
            finally:
                cpu_s = time.thread_time() - before

        logits = await self._lanes.run(infer)
        latency_ms = (time.monotonic() - began) * 1000
        manifest = arm.bundle.manifest
        decisions = decide(logits, manifest.tasks, manifest.policy, frozenset(given.modalities))
        self._monitor.paired(given.assignment.experiment, arm.name, given.decisions, decisions)
        self._sink.offer(_record(given, arm, inputs, decisions, latency_ms, cpu_s))

    def _count(self, arm: str, outcome: str) -> None:
        self._metrics.shadows.labels(arm, outcome).inc()


def features_in(logits: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32] | None:
    """What the vision tower gave for a clip, where its arm was asked to keep that."""
    return logits.get(FEATURES)


def _inputs(given: Given, arm: Arm) -> ModelInputs | None:
    """What the arm reads; None where it reads other frames than were decoded, or none of the texts that were sent."""
    spec = arm.bundle.manifest.input_spec
    text, _ = tokenise(given.texts, arm.bundle)
    if not given.inputs.video_present:
        return assemble(None, text, spec) if text.present else None
    if _clip(spec) != _clip(given.arm.bundle.manifest.input_spec):
        return None
    return ModelInputs(given.inputs.frames, given.inputs.frame_times_ms, text, video_present=True)


def _clip(spec: InputSpec) -> tuple[object, ...]:
    """What decides which pixels of a clip are read."""
    return spec.version, spec.frames, spec.frame_size, spec.sampling, spec.burst, spec.interpolation


def _record(
    given: Given, arm: Arm, inputs: ModelInputs, decisions: Mapping[str, TaskDecision], latency_ms: float, cpu_s: float
) -> Decision:
    return Decision(
        decision_id=given.decision_id,
        time_ms=time.time_ns() // 1_000_000,
        experiment=given.assignment.experiment,
        arm=arm.name,
        shadow=True,
        code=OK,
        bundle_digest=arm.bundle.digest,
        input_spec_digest=arm.bundle.manifest.input_spec.digest(),
        modalities=tuple(modality.value for modality in given.modalities),
        frame_times_ms=inputs.frame_times_ms,
        tasks={
            name: TaskRecord(
                scores=dict(decision.scores),
                label=decision.label,
                flag_score=decision.flag_score,
                threshold=decision.threshold,
                flagged=decision.flagged,
                supported=decision.supported,
            )
            for name, decision in decisions.items()
        },
        latency_ms=latency_ms,
        model_cpu_s=cpu_s,
    )
