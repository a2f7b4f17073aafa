"""classify(): the whole path of a request on one screen."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from starlette.requests import Request

from service.api.schemas import BundleName, FrameUsed, TaskVerdict, Verdict, VideoRead
from service.context import DEADLINE_HEADER, PRIORITY_HEADER, RequestContext, allowed_ms, priority_of
from service.experiment.arms import Arm, Arms
from service.judge import Judge, Judgement
from service.metrics import Metrics
from service.settings import DeadlineSettings, Settings
from service.stages.admission import Admission
from service.stages.decision import decide_and_count
from service.stages.decode_answer import DecodedVideo
from service.stages.fetch import declared_bytes, fetch
from service.stages.spool import Spool


@dataclass(frozen=True)
class Components:
    """What a request passes through; built by ``service.app``, living as long as the app."""

    settings: Settings
    metrics: Metrics
    admission: Admission
    judge: Judge
    arms: Arms


async def classify(request: Request, context: RequestContext, parts: Components) -> Verdict:
    """The verdict for one request.

    Raises:
        InputError: the video or the texts cannot be classified (``contract.errors``).
        ServiceError: see ``service.errors``.
    """
    settings = parts.settings
    _read_wishes(request, context, settings.deadline)
    with (
        parts.admission.admit(declared_bytes(request, settings.body)) as permit,
        Spool(settings.body.spool_directory, settings.body.max_media_bytes) as spool,
    ):
        with context.in_stage("fetch"):
            upload = await fetch(request, context, spool, settings.body)
            permit.settle(upload.size)
        arm, judgement = await parts.judge.judge(upload, context)
        with context.in_stage("decision"):
            return _verdict(context, arm, judgement, parts)


def _read_wishes(request: Request, context: RequestContext, bounds: DeadlineSettings) -> None:
    """What the caller asks of this request: how long it may take, how urgent it is. Raises InvalidField."""
    asked = request.headers.get(DEADLINE_HEADER)
    allowed = allowed_ms(asked, bounds.default_ms, bounds.min_ms, bounds.max_ms)
    context.deadline = context.started + allowed / 1000
    context.deadline_chosen = asked is not None and allowed < bounds.default_ms
    context.priority = priority_of(request.headers.get(PRIORITY_HEADER))


def _verdict(context: RequestContext, arm: Arm, judgement: Judgement, parts: Components) -> Verdict:
    modalities, video = judgement.modalities, judgement.video
    decisions = decide_and_count(judgement.logits, arm.bundle, frozenset(modalities), arm.name, parts.metrics)
    manifest = arm.bundle.manifest
    return Verdict(
        request_id=context.request_id,
        arm=arm.name,
        experiment=parts.settings.experiment.name,
        bundle=BundleName(name=manifest.name, version=manifest.version, digest=arm.bundle.digest),
        modalities=tuple(m.value for m in modalities),
        truncated_text_fields=judgement.text.truncated_fields,
        unread_text_fields=judgement.unread,
        frames=tuple(FrameUsed(index=i, time_ms=t) for i, t in enumerate(video.times_ms if video else ())),
        video=_video_read(video),
        tasks={name: TaskVerdict(**asdict(decision)) for name, decision in decisions.items()},
        timings_ms=dict(context.so_far()),
    )


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
