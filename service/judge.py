"""judge(): an upload and its deadline -> what the model says of it. It knows no HTTP.

    assignment -> (equal work in flight is shared) -> price -> backlog -> decode -> tokenisation -> queue -> inference

Everything in parentheses' reach happens once for all equal requests in flight; the decision is each caller's own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from contract.decision import Modality
from contract.example import ModelInputs, assemble
from contract.text import TokenisedText
from contract.video import Frames, VideoProbe
from service.context import RequestContext
from service.decoding.answer import DecodedVideo
from service.experiment.arms import Arm
from service.experiment.assigner import Assigner
from service.experiment.content import content_digest
from service.metrics import Metrics
from service.scheduling.backlog import Backlog
from service.scheduling.coalescing import Flight, Flights
from service.scheduling.policy import Priority
from service.scheduling.price import UNKNOWN, Price
from service.scheduling.work import Work
from service.stages.decode import Clip, DecodePool
from service.stages.fetch import Upload
from service.stages.tokenisation import tokenise


@dataclass(frozen=True)
class Judgement:
    """What the model says of one upload.

    Attributes:
        inputs: what the model read.
        logits: the clip's row of each of the graph's outputs: task name -> (K,) float32, and ``evidence:`` entries.
        video: what was decoded; None where no video was sent.
        text: what was read of the texts.
        unread: text fields that the arm's model does not read.
    """

    inputs: ModelInputs
    logits: dict[str, NDArray[np.float32]]
    video: DecodedVideo | None
    text: TokenisedText
    unread: tuple[str, ...]

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return ((Modality.VIDEO,) if self.video else ()) + ((Modality.TEXT,) if self.text.present else ())


class Judge:
    """Judges uploads; equal ones in flight once.

    Args:
        assigner: which model.
        decode: the clips' door to the worker processes.
        backlog: says yes, no, or when.
        metrics: where it shows.
    """

    def __init__(self, assigner: Assigner, decode: DecodePool, backlog: Backlog, metrics: Metrics) -> None:
        self._assigner = assigner
        self._decode = decode
        self._backlog = backlog
        self._metrics = metrics
        self._flights: Flights[Judgement] = Flights()

    @property
    def lowest(self) -> Priority:
        """The priority of those who come last."""
        return Priority.LAST if self._decode.serves_last else Priority.BULK

    async def judge(self, upload: Upload, context: RequestContext) -> tuple[Arm, Judgement]:
        """The arm that answers, and its judgement.

        Args:
            upload: stays open until this returns.
            context: gives deadline and priority; takes arm, stage and timings.

        Raises:
            InputError: the video or the texts cannot be classified (``contract.errors``).
            ServiceError: see ``service.errors``.
        """
        content = _content(upload)
        media = upload.digest if upload.has_video else None
        arm = await self._assigner.assign(upload.units, context, content, media)
        spec = arm.bundle.manifest.input_spec
        arrived = time.monotonic()

        async def work(flight: Flight[Judgement]) -> Judgement:
            return await self._work(upload, content, arm, flight, arrived)

        judgement, shared = await self._flights.join(
            # Work that yields is no place to wait for others: its process may have nothing but what they leave.
            (content, spec.digest(), arm.bundle.digest, context.priority is Priority.LAST),
            upload.spool.fileno() if upload.has_video else None,
            (context.deadline, context.priority),
            context,
            work,
        )
        context.shared = shared
        if shared:
            self._metrics.coalesced.labels(arm.name).inc()
        return arm, judgement

    async def close(self) -> None:
        """Cancels what is in flight; whoever waits is told that the service drains."""
        await self._flights.close()

    async def _work(
        self, upload: Upload, content: str, arm: Arm, flight: Flight[Judgement], arrived: float
    ) -> Judgement:
        spec, progress = arm.bundle.manifest.input_spec, flight.progress
        with progress.in_stage("tokenisation"):
            text, unread = tokenise(upload.texts, arm.bundle)
        clip: Clip | None = None
        price: Price | None = None
        if upload.has_video:
            clip = Clip(flight.descriptor, upload.digest, upload.size)
            self._turn_away(clip, flight, arm, content, arrived)
            with progress.in_stage("price"):
                price = await self._decode.price(clip, spec)
        model_s, margin = arm.batcher.expected_run_s(upload.has_video), arm.batcher.run_margin(upload.has_video)
        work = Work(flight, arrived, price, model_s, content, margin)
        with self._backlog.accepted(work):
            flight.on_change = lambda: self._backlog.reorder(work)
            video = None
            if clip is not None:
                with progress.in_stage("decode_wait"):
                    video = await self._decode.decode(
                        clip, spec, work, lambda: progress.enter("decode"), partial(progress.spend, "decode_cpu_s")
                    )
            inputs = assemble(_frames(video), text, spec)

            def on_lane() -> None:
                progress.enter("inference")
                self._backlog.takes_lane(work)

            with progress.in_stage("queue"):
                answer = await arm.batcher.submit(inputs, flight.latest, flight.priority, on_lane)
            progress.spend("model_cpu_s", answer.cpu_s)
            return Judgement(inputs, answer.logits, video, text, unread)

    def _turn_away(self, clip: Clip, flight: Flight[Judgement], arm: Arm, content: str, arrived: float) -> None:
        """Raises Overloaded where no clip could be let in now. (Too little time even alone is told by the price.)"""
        prices, model_s = self._decode.prices, arm.batcher.expected_run_s(with_video=True)
        likely = Work(flight, arrived, prices.price(None, clip.size), model_s, content)
        if prices.trusted and time.monotonic() + likely.whole_s <= flight.latest:
            free = Price(UNKNOWN, 0.0, 0.0, 1.0, trusted=True)
            self._backlog.turn_away(Work(flight, arrived, free, model_s, content, model_margin=1.0), likely)


def _content(upload: Upload) -> str:
    """What makes two uploads equal."""
    return content_digest(upload.digest if upload.has_video else None, upload.texts)


def _frames(video: DecodedVideo | None) -> Frames | None:
    if video is None:
        return None
    probe = VideoProbe(
        video.container, video.codec, video.width, video.height, (), video.duration_ms / 1000, 0, indexed=False
    )
    return Frames(video.pixels, video.times_ms, probe)
