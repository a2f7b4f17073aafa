"""At the start each arm's golden clip and title go the way of a request: worker, tokenizer, model, decision."""

from __future__ import annotations

import asyncio
import logging
import os
from types import TracebackType

from contract.bundle import Bundle
from contract.errors import BundleError, GoldenMismatch, MediaError
from contract.input_spec import InputSpec
from contract.proof import explained, prove_inputs, prove_scores, undecodable
from contract.video import DecodeLimits
from service.decoding.answer import DecodedVideo, refusal_in, video_in
from service.decoding.process import DecodeProcess, WorkerDied
from service.errors import StartError
from service.logs import FIELDS
from service.settings import DecodeSettings
from service.stages.inference import ArmModel

log = logging.getLogger(__name__)


class GoldenReplays:
    """Replays golden clips through one decode worker of its own, which ends with the context.

    Args:
        settings: of the decode workers.
        slot_bytes: the largest frames array that any arm asks for.
    """

    def __init__(self, settings: DecodeSettings, slot_bytes: int) -> None:
        self._settings = settings
        self._slot_bytes = slot_bytes
        # The decoder that requests meet, but not their bounds: those are on what callers send.
        limits = settings.limits
        self._limits = DecodeLimits(backend=limits.backend, decoder_threads=limits.decoder_threads)
        self._worker: DecodeProcess | None = None

    async def __aenter__(self) -> GoldenReplays:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._worker is not None:
            await self._worker.end()

    async def prove(self, arm: str, bundle: Bundle, model: ArmModel) -> dict[str, float]:
        """Stage -> how far it lies from what was recorded; empty where the bundle holds no golden clip.

        Args:
            arm: for the log.
            bundle: of the arm.
            model: its model, loaded.

        Raises:
            StartError: a stage comes out otherwise than at the export, or no worker starts.
        """
        if bundle.clip is None:
            fields = {"arm": arm, "bundle": bundle.digest[:12]}
            log.warning(
                "the bundle holds no golden clip: decoding and tokenisation are not proved", extra={FIELDS: fields}
            )
            return {}
        try:
            video = await self._decoded(bundle.clip.data, bundle.manifest.input_spec)
            inputs, decode_gap = prove_inputs(bundle, video.pixels, video.times_ms)
            logits = await asyncio.to_thread(model.infer, [inputs])
            score_gap = prove_scores(bundle, {task: values[0] for task, values in logits.items()})
        except GoldenMismatch as error:
            raise StartError(explained(bundle, error)) from error
        except BundleError as error:
            raise StartError(str(error)) from error
        return {"decode": decode_gap, "tokenisation": 0.0, "inference": score_gap}

    async def _decoded(self, clip: bytes, spec: InputSpec) -> DecodedVideo:
        worker = await self._started()
        held = os.memfd_create("golden")
        try:
            os.write(held, clip)
            async with asyncio.timeout(self._settings.start_seconds):
                answer = await worker.decode(held, spec, self._limits)
        except (WorkerDied, TimeoutError):
            raise StartError("the decode worker ended on a bundle's golden clip, or took too long") from None
        finally:
            os.close(held)
        refusal = refusal_in(answer)
        if isinstance(refusal, MediaError):
            raise undecodable(refusal)
        video = video_in(answer, worker.frames(spec))
        if refusal is not None or video is None:
            raise StartError(f"the decode worker failed on a bundle's golden clip: {answer.get('failed', refusal)}")
        return video

    async def _started(self) -> DecodeProcess:
        if self._worker is None:
            self._worker = DecodeProcess(self._settings, self._slot_bytes)
            try:
                async with asyncio.timeout(self._settings.start_seconds):
                    await self._worker.ready()
            except (WorkerDied, TimeoutError):
                raise StartError(f"no decode worker starts: {self._worker.last_words()}") from None
        return self._worker
