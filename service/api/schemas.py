"""What the service answers: the verdict, readiness, and the problem document, with their OpenAPI texts."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Reply(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class BundleName(Reply):
    name: str
    version: str
    digest: str
    """SHA-256 of the bundle's manifest: it names every byte of the model."""


class FrameUsed(Reply):
    index: int
    """Position among the frames that the model read."""
    time_ms: float
    """When it appears, in ms from the clip's first picture."""


class VideoRead(Reply):
    container: str
    codec: str
    width: int
    height: int
    duration_ms: float


class Moment(Reply):
    time_ms: float
    """In the middle of the moment, in ms from the clip's first picture."""
    score: float
    """How much this moment adds to the flag, in calibrated logits; below 0 it speaks against it."""


class TaskVerdict(Reply):
    scores: dict[str, float]
    """Label -> calibrated probability. They add up to 1 except in a multi-label task."""
    label: str
    """The label decided on."""
    flag_score: float
    """The probability compared with ``threshold``."""
    threshold: float
    flagged: bool
    """Whether a moderator should see it. Never true where ``supported`` is false."""
    flagged_labels: tuple[str, ...]
    supported: bool
    """False where the request held nothing of what this task was trained on, or the model has not learnt the task well
    enough to be served: ignore its scores."""
    unsupported_because: str | None = None
    """Why ``supported`` is false; null where it is true."""
    evidence: tuple[Moment, ...]
    """Which moments drove the score, in order of time; empty where the task reads no clip or the model does not say."""


class Verdict(Reply):
    """The answer to a request that could be classified."""

    request_id: str
    decision_id: str
    """Made by the service, for this answer alone: what the decision log calls it, and `POST /feedback` takes."""
    arm: str
    """Which arm of the experiment answered: the same for the same unit (``video_id``, unless settings say another)."""
    experiment: str
    """``none`` where the request is in no experiment."""
    bundle: BundleName
    modalities: tuple[Literal["video", "text"], ...]
    """What was read."""
    truncated_text_fields: tuple[str, ...]
    """Text fields of which the end was over the model's token budget and not read."""
    unread_text_fields: tuple[str, ...]
    """Text fields that this arm's model does not read at all."""
    frames: tuple[FrameUsed, ...]
    video: VideoRead | None
    tasks: dict[str, TaskVerdict]
    timings_ms: dict[str, float]
    """Stage -> milliseconds. ``decode_wait`` and ``queue`` are waits."""


class FeedbackTaken(Reply):
    """The answer to feedback: all of it is on the disk."""

    taken: int
    """How many labels the body held. Those that were there already changed nothing."""


class Problem(Reply):
    """RFC 9457 problem details."""

    type: str
    """Stable: ``urn:cpfd:problem:<code>``."""
    title: str
    status: int
    detail: str
    """What to change, or when to come back."""
    instance: str
    """``urn:cpfd:request:<request id>``."""
    code: str
    """Stable, snake_case: branch on this."""
    retryable: bool
    """Whether the same request may succeed later."""
    stage: str
    """Where the request was."""
    request_id: str
    decision_id: str | None = None
    """As in a verdict; null before an arm was assigned."""


class Ready(Reply):
    ready: bool
    reasons: tuple[str, ...] = Field(default=())
    """Why not."""


VERDICT_EXAMPLE = {
    "request_id": "2f1c9d8e7b6a4f53a1c0d9e8f7b6a5c4",
    "decision_id": "b7e23ec29af22b0b4e41da31e868d572",
    "arm": "student",
    "experiment": "baseline-vs-student",
    "bundle": {"name": "cpfd-student", "version": "0.1.0", "digest": "9f86d081884c7d65" * 4},
    "modalities": ["video", "text"],
    "truncated_text_fields": [],
    "unread_text_fields": [],
    "frames": [{"index": 0, "time_ms": 120.0}, {"index": 1, "time_ms": 360.0}],
    "video": {
        "container": "mov,mp4,m4a,3gp,3g2,mj2",
        "codec": "h264",
        "width": 1280,
        "height": 720,
        "duration_ms": 480.0,
    },
    "tasks": {
        "violence": {
            "scores": {"calm": 0.91, "violent": 0.09},
            "label": "calm",
            "flag_score": 0.09,
            "threshold": 0.5,
            "flagged": False,
            "flagged_labels": [],
            "supported": True,
            "unsupported_because": None,
            "evidence": [{"time_ms": 120.0, "score": -0.8}, {"time_ms": 360.0, "score": -1.2}],
        }
    },
    "timings_ms": {
        "fetch": 3.1,
        "decode_wait": 0.2,
        "decode": 88.0,
        "tokenisation": 0.2,
        "queue": 0.1,
        "inference": 21.4,
    },
}
