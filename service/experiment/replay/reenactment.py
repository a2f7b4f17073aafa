"""A logged decision made again, the way of a request: worker, tokenizer, model, decision; and what differs."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from contract.decision import Modality, decide
from contract.decision_log import Decision
from contract.errors import InputError
from contract.example import assemble
from contract.input_spec import InputSpec
from contract.replay import SCORE_TOLERANCE, TIME_TOLERANCE_MS
from contract.video import Frames, VideoProbe
from service.decoding.answer import DecodedVideo, refusal_in, video_in
from service.decoding.process import DecodeProcess, WorkerDied
from service.experiment.replay.evidence import Evidence, Lacking
from service.settings import DecodeSettings, LaneSettings
from service.stages.inference import ArmModel
from service.stages.tokenisation import tokenise


@dataclass(frozen=True)
class Finding:
    """What came of one decision.

    Attributes:
        outcome: ``exact``, ``within_epsilon``, ``scores_differ``, ``frames_differ`` or ``decision_differs``; or what
            lacks.
        gap: the largest difference to a logged probability; None where it was not made again.
        detail: for people; empty where all is well.
    """

    outcome: str
    gap: float | None = None
    detail: str = ""


GOOD = frozenset({"exact", "within_epsilon"})


class Reenactment:
    """Makes decisions again, one after the other, with one decode worker and each bundle's model loaded once.

    Args:
        decode: settings of the worker.
        lanes: how models are loaded.
        slot_bytes: the largest frames array that any bundle asks for.
        epsilon: how far a probability may lie from the logged one; None: as each bundle says for another machine.
    """

    def __init__(self, decode: DecodeSettings, lanes: LaneSettings, slot_bytes: int, epsilon: float | None) -> None:
        self._decode = decode
        self._lanes = lanes
        self._slot_bytes = slot_bytes
        self._epsilon = epsilon
        self._worker: DecodeProcess | None = None
        self._models: dict[str, ArmModel] = {}

    async def __aenter__(self) -> Reenactment:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end_worker()

    async def repeat(self, decision: Decision, evidence: Evidence) -> Finding:
        """The finding.

        Raises:
            Lacking: the video is refused now, or the worker does not survive it.
            StartError: a model cannot be loaded.
        """
        bundle = evidence.bundle
        spec = bundle.manifest.input_spec
        video = None if evidence.video is None else await self._decoded(evidence.video, spec)
        times = () if video is None else video.times_ms
        shift_ms = _shift(decision.frame_times_ms, times)
        if shift_ms > TIME_TOLERANCE_MS:
            return Finding("frames_differ", detail=f"{len(times)} frames, up to {shift_ms:g} ms from those of the log")
        text, _ = tokenise(evidence.texts, bundle)
        inputs = assemble(_frames(video), text, spec)
        if bundle.digest not in self._models:
            self._models[bundle.digest] = await asyncio.to_thread(ArmModel, bundle, self._lanes)
        outputs = await asyncio.to_thread(self._models[bundle.digest].infer, [inputs])
        logits = {name: values[0] for name, values in outputs.items()}
        modalities = frozenset(Modality(name) for name in decision.modalities)
        made = decide(logits, bundle.manifest.tasks, bundle.manifest.policy, modalities)
        gaps = {
            name: max(abs(made[name].scores[label] - p) for label, p in logged.scores.items())
            for name, logged in decision.tasks.items()
        }
        gap = max(gaps.values(), default=0.0)
        replay = bundle.manifest.replay
        allowed = self._epsilon if self._epsilon is not None else replay.score_tolerance if replay else SCORE_TOLERANCE
        if not gap <= allowed:
            worst = max(gaps, key=lambda name: gaps[name])
            return Finding("scores_differ", gap, f"{worst} lies {gap:.3g} from the log, over {allowed:g}")
        turned = [name for name, logged in decision.tasks.items() if made[name].flagged != logged.flagged]
        if turned:
            return Finding("decision_differs", gap, f"{', '.join(turned)}: on the other side of the threshold")
        return Finding("exact" if gap == 0.0 else "within_epsilon", gap)

    async def _decoded(self, path: Path, spec: InputSpec) -> DecodedVideo:
        held = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            worker = await self._started()
            async with asyncio.timeout(self._decode.wall_seconds):
                answer = await worker.decode(held, spec, self._decode.limits)
            video = video_in(answer, worker.frames(spec)) if "times_ms" in answer else None
        except (WorkerDied, TimeoutError):
            await self._end_worker()
            raise Lacking("decode_failed", "the decode worker ended, or took too long") from None
        finally:
            os.close(held)
        if video is None:
            refusal: InputError | None = refusal_in(answer)
            raise Lacking("decode_failed", f"the video is refused now: {refusal.code if refusal else 'failed'}")
        return video

    async def _started(self) -> DecodeProcess:
        if self._worker is None:
            self._worker = DecodeProcess(self._decode, self._slot_bytes)
            async with asyncio.timeout(self._decode.start_seconds):
                await self._worker.ready()
        return self._worker

    async def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.end()


def _shift(logged: tuple[float, ...], found: tuple[float, ...]) -> float:
    if len(logged) != len(found):
        return float("inf")
    return max((abs(a - b) for a, b in zip(logged, found, strict=True)), default=0.0)


def _frames(video: DecodedVideo | None) -> Frames | None:
    if video is None:
        return None
    probe = VideoProbe(video.container, video.codec, video.width, video.height, (), 0.0, 0, indexed=False)
    return Frames(video.pixels, video.times_ms, probe)
