"""classify(): the whole path of a request on one screen."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from contract.bundle import BundleManifest
from contract.decision import TaskDecision
from contract.model_graphs import EVIDENCE_PREFIX, moment_scores
from service.api.schemas import BundleName, FrameUsed, Moment, TaskVerdict, Verdict, VideoRead
from service.context import DEADLINE_HEADER, PRIORITY_HEADER, RequestContext, allowed_ms, priority_of
from service.decoding.answer import DecodedVideo
from service.experiment.arms import Arm, Arms
from service.experiment.assigner import FORCE_HEADER, forced_arm
from service.experiment.log.endings import Endings
from service.experiment.log.writer import NullLog
from service.experiment.shadow import Given, Scavenger, features_in
from service.experiment.watch.monitor import Monitor
from service.judge import Judge, Judgement
from service.metrics import Metrics
from service.scheduling.standing import Standing
from service.settings import DeadlineSettings, Settings
from service.stages.admission import Admission
from service.stages.decision import decide_and_count
from service.stages.fetch import declared_bytes, fetch
from service.stages.spool import Spool
from service.wire.capacity import peer_of
from service.wire.uploads import Uploads


@dataclass(frozen=True)
class Components:
    """What a request passes through; built by ``service.app``, living as long as the app."""

    settings: Settings
    metrics: Metrics
    standing: Standing
    uploads: Uploads
    admission: Admission
    judge: Judge
    arms: Arms
    monitor: Monitor
    scavenger: Scavenger
    log: NullLog
    endings: Endings


async def classify(request: Request, context: RequestContext, parts: Components) -> Verdict:
    """The verdict for one request.

    Raises:
        InputError: the video or the texts cannot be classified (``contract.errors``).
        ServiceError: see ``service.errors``.
    """
    settings = parts.settings
    context.peer = peer_of(request.client.host if request.client else None)
    _read_wishes(request, context, settings.deadline)
    if parts.standing.goes_last(context.peer):
        parts.metrics.put_last.inc()
        context.priority = parts.judge.lowest
    wanted, shown = request.headers.get(FORCE_HEADER), request.headers.get("authorization")
    context.forced_arm = forced_arm(wanted, shown, settings.experiment.force_token, parts.monitor.plan)
    declared = declared_bytes(request, settings.body)
    with ExitStack() as held:
        # The upload's permit ends with the body. Work is asked for before, so that nobody uploads in vain, and after.
        with parts.uploads.admit(context.peer, declared) as uploading:
            parts.admission.check(declared)
            spool = held.enter_context(Spool(settings.body.spool_directory, settings.body.max_media_bytes))
            with context.in_stage("fetch"):
                upload = await fetch(request, context, spool, settings.body, uploading)
        held.enter_context(parts.admission.admit(upload.size))
        async with parts.endings.of(context, upload.size) as ending:
            arm, judgement = await parts.judge.judge(upload, context)
            with context.in_stage("decision"):
                modalities = frozenset(judgement.modalities)
                decisions = decide_and_count(judgement.logits, arm.bundle, modalities, arm.name, parts.metrics)
                parts.monitor.scored(context, decisions)
                _ask_for_shadows(context, arm, judgement, upload.texts, decisions, parts.scavenger)
                verdict = ending.verdict = _verdict(context, arm, judgement, decisions)
        return verdict


def _read_wishes(request: Request, context: RequestContext, bounds: DeadlineSettings) -> None:
    """What the caller asks of this request: how long it may take, how urgent it is. Raises InvalidField."""
    asked = request.headers.get(DEADLINE_HEADER)
    allowed = allowed_ms(asked, bounds.default_ms, bounds.min_ms, bounds.max_ms)
    context.deadline = context.started + allowed / 1000
    context.deadline_chosen = asked is not None and allowed < bounds.default_ms
    context.priority = priority_of(request.headers.get(PRIORITY_HEADER))


def _ask_for_shadows(
    context: RequestContext,
    arm: Arm,
    judgement: Judgement,
    texts: Mapping[str, str],
    decisions: Mapping[str, TaskDecision],
    scavenger: Scavenger,
) -> None:
    """Work that several requests shared has shadows once: those of the request that it was begun for."""
    if context.assignment is None or context.shared or not scavenger.wants(context.decision_id):
        return
    features = features_in(judgement.logits)
    given = Given(
        context.decision_id,
        context.assignment,
        arm,
        judgement.inputs,
        features,
        texts,
        decisions,
        judgement.modalities,
    )
    context.after_reply = partial(scavenger.offer, given)


def _verdict(context: RequestContext, arm: Arm, judgement: Judgement, decisions: Mapping[str, TaskDecision]) -> Verdict:
    modalities, video = judgement.modalities, judgement.video
    manifest = arm.bundle.manifest
    assert context.assignment is not None
    return Verdict(
        request_id=context.request_id,
        decision_id=context.decision_id,
        arm=arm.name,
        experiment=context.assignment.experiment,
        bundle=BundleName(name=manifest.name, version=manifest.version, digest=arm.bundle.digest),
        modalities=tuple(m.value for m in modalities),
        truncated_text_fields=judgement.text.truncated_fields,
        unread_text_fields=judgement.unread,
        frames=tuple(FrameUsed(index=i, time_ms=t) for i, t in enumerate(video.times_ms if video else ())),
        video=_video_read(video),
        tasks={
            name: TaskVerdict(**asdict(decision), evidence=_evidence(name, manifest, video, judgement.logits))
            for name, decision in decisions.items()
        },
        timings_ms=dict(context.so_far()),
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
