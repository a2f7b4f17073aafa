"""classify(): the whole path of a request on one screen."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from contract.bundle import BundleManifest
from contract.decision import Modality, TaskDecision
from contract.example import assemble
from contract.model_graphs import EVIDENCE_PREFIX, moment_scores
from contract.text import TokenisedText
from contract.video import Frames, VideoProbe
from service.api.schemas import BundleName, FrameUsed, Moment, TaskVerdict, Verdict, VideoRead
from service.context import RequestContext, deadline_of
from service.experiment.arms import Arm, Arms
from service.metrics import Metrics
from service.settings import Settings
from service.stages.admission import Admission
from service.stages.decision import decide_and_count
from service.stages.decode import DecodePool
from service.stages.decode_answer import DecodedVideo
from service.stages.fetch import Upload, declared_bytes, fetch
from service.stages.spool import Spool
from service.stages.tokenisation import tokenise
from service.wire.capacity import peer_of
from service.wire.uploads import Uploads


@dataclass(frozen=True)
class Components:
    """What a request passes through; built by ``service.app``, living as long as the app."""

    settings: Settings
    metrics: Metrics
    uploads: Uploads
    admission: Admission
    decode: DecodePool
    arms: Arms


async def classify(request: Request, context: RequestContext, parts: Components) -> Verdict:
    """The verdict for one request.

    Raises:
        InputError: the video or the texts cannot be classified (``contract.errors``).
        ServiceError: see ``service.errors``.
    """
    settings = parts.settings
    bounds = settings.deadline
    asked = request.headers.get("x-request-timeout-ms")
    context.deadline = deadline_of(asked, context.started, bounds.default_ms, bounds.max_ms)
    declared = declared_bytes(request, settings.body)
    with ExitStack() as held:
        # The upload's permit ends with the body. Work is asked for before, so that nobody uploads in vain, and after.
        with parts.uploads.admit(_peer(request), declared) as uploading:
            parts.admission.check(declared)
            spool = held.enter_context(Spool(settings.body.spool_directory, settings.body.max_media_bytes))
            with context.in_stage("fetch"):
                upload = await fetch(request, context, spool, settings.body, uploading)
        held.enter_context(parts.admission.admit(upload.size))
        return await _judge(upload, context, parts)


async def _judge(upload: Upload, context: RequestContext, parts: Components) -> Verdict:
    """The verdict for what was uploaded."""
    settings = parts.settings
    with context.in_stage("assignment"):
        arm = parts.arms.of(upload.unit)
        context.arm, context.bundle = arm.name, arm.bundle.digest[:12]
    video = await _decode(upload, arm, context, parts.decode)
    with context.in_stage("tokenisation"):
        text, unread = tokenise(upload.texts, arm.bundle)
        inputs = assemble(_frames(video), text, arm.bundle.manifest.input_spec)
    context.stage = "queue"
    context.remaining_s()
    answer = await arm.batcher.submit(inputs, context.deadline)
    context.record("queue", answer.queue_s)
    context.record("inference", answer.run_s)
    with context.in_stage("decision"):
        modalities = _modalities(video, text)
        decisions = decide_and_count(answer.logits, arm.bundle, frozenset(modalities), arm.name, parts.metrics)
    parts.admission.observe(_work_s(context))
    return _verdict(context, settings, arm, video, text, unread, modalities, decisions, answer.logits)


def _peer(request: Request) -> str:
    return peer_of(request.client.host) if request.client is not None else "unknown"


async def _decode(upload: Upload, arm: Arm, context: RequestContext, pool: DecodePool) -> DecodedVideo | None:
    """The video's frames, None where none was sent. A video that does not decode is never left out in silence."""
    if not upload.has_video:
        return None
    context.stage = "decode"
    return await pool.decode(upload.spool.fileno(), arm.bundle.manifest.input_spec, upload.digest, context)


def _frames(video: DecodedVideo | None) -> Frames | None:
    if video is None:
        return None
    probe = VideoProbe(
        video.container, video.codec, video.width, video.height, (), video.duration_ms / 1000, 0, indexed=False
    )
    return Frames(video.pixels, video.times_ms, probe)


def _modalities(video: DecodedVideo | None, text: TokenisedText) -> tuple[Modality, ...]:
    return ((Modality.VIDEO,) if video else ()) + ((Modality.TEXT,) if text.present else ())


def _work_s(context: RequestContext) -> float:
    """Seconds of work in a request, waits excluded."""
    return sum(context.timings_ms.get(stage, 0.0) for stage in ("decode", "tokenisation", "inference")) / 1000


def _verdict(
    context: RequestContext,
    settings: Settings,
    arm: Arm,
    video: DecodedVideo | None,
    text: TokenisedText,
    unread: tuple[str, ...],
    modalities: tuple[Modality, ...],
    decisions: dict[str, TaskDecision],
    logits: Mapping[str, NDArray[np.float32]],
) -> Verdict:
    manifest = arm.bundle.manifest
    return Verdict(
        request_id=context.request_id,
        arm=arm.name,
        experiment=settings.experiment.name,
        bundle=BundleName(name=manifest.name, version=manifest.version, digest=arm.bundle.digest),
        modalities=tuple(m.value for m in modalities),
        truncated_text_fields=text.truncated_fields,
        unread_text_fields=unread,
        frames=tuple(FrameUsed(index=i, time_ms=t) for i, t in enumerate(video.times_ms if video else ())),
        video=_video_read(video),
        tasks={
            name: TaskVerdict(**asdict(decision), evidence=_evidence(name, manifest, video, logits))
            for name, decision in decisions.items()
        },
        timings_ms=dict(context.timings_ms),
    )


def _evidence(
    name: str, manifest: BundleManifest, video: DecodedVideo | None, logits: Mapping[str, NDArray[np.float32]]
) -> tuple[Moment, ...]:
    """What each moment of the clip added to the task's flag."""
    shares_MK = logits.get(EVIDENCE_PREFIX + name)
    if video is None or shares_MK is None:
        return ()
    task = next(task for task in manifest.tasks if task.name == name)
    scores = moment_scores(shares_MK, task, manifest.policy.tasks[name].temperature)
    pictures = len(video.times_ms) // len(scores)
    times_ms = video.times_ms[pictures // 2 :: pictures]
    found = [Moment(time_ms=time_ms, score=float(score)) for time_ms, score in zip(times_ms, scores, strict=True)]
    return tuple(sorted(found, key=lambda moment: moment.time_ms))


def _video_read(video: DecodedVideo | None) -> VideoRead | None:
    if video is None:
        return None
    return VideoRead(
        container=video.container,
        codec=video.codec,
        width=video.width,
        height=video.height,
        duration_ms=video.duration_ms,
    )
