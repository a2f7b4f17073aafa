"""What is sent next: forms, raw bodies, texts alone, duplicates, hostile clips, and callers who leave."""

from __future__ import annotations

import random
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlencode

from loadtest.traffic.corpus import OCTETS, Clip, Corpus, Expect, media_type

PATH = "/classify"
_REMEMBERED = 256
_TEXT = "you won't believe what this drone saw in the park today cat fight news bird live match goal music"
_WORDS = _TEXT.split()


class Kind(StrEnum):
    """The ways to ask."""

    FORM = "form"
    """A multipart form: clip, title and an id of its own."""
    RAW = "raw"
    """The clip as the body, title and id in the query."""
    TEXT = "text"
    """A form without a clip."""
    DUPLICATE = "duplicate"
    """An earlier form again, same id: the same arm must answer."""
    HOSTILE = "hostile"
    """A clip that deserves a typed problem."""
    LEAVE_UPLOADING = "leave_uploading"
    """A form whose sender hangs up half way through the body."""
    LEAVE_WAITING = "leave_waiting"
    """A form whose sender hangs up before the answer."""


DEFAULT_WEIGHTS: Mapping[Kind, float] = {
    Kind.FORM: 60,
    Kind.RAW: 12,
    Kind.TEXT: 12,
    Kind.DUPLICATE: 8,
    Kind.HOSTILE: 4,
    Kind.LEAVE_UPLOADING: 2,
    Kind.LEAVE_WAITING: 2,
}


@dataclass(frozen=True, slots=True)
class Message:
    """A request to be sent.

    Attributes:
        kind: the way it asks.
        path: with its query.
        body: whole.
        content_type: of the body.
        video_id: the unit that sticks to an arm, or None.
        expect: what it deserves.
        leave_s: hang up this long after the body is sent, unless answered; None: wait for the answer.
        send_share: hang up after so much of the body; 1: send it all.
    """

    kind: Kind
    path: str
    body: bytes
    content_type: str
    video_id: str | None
    expect: Expect
    leave_s: float | None = None
    send_share: float = 1.0


def form(fields: Mapping[str, str], video: bytes | None) -> tuple[bytes, str]:
    """A multipart body and its content type."""
    mark = uuid.uuid4().hex
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if video is not None:
        head = f'--{mark}\r\nContent-Disposition: form-data; name="video"; filename="clip"\r\n'
        parts += [f"{head}Content-Type: {OCTETS}\r\n\r\n".encode(), video, b"\r\n"]
    return b"".join([*parts, f"--{mark}--\r\n".encode()]), f"multipart/form-data; boundary={mark}"


class Mix:
    """Draws messages.

    Args:
        corpus: the clips.
        rng: where chance comes from.
        weights: of the kinds, relative to each other; a kind that is not named is never sent.
        ids_by_arm: ids known to stick to each arm, for plans that steer the arms' shares.

    Raises:
        ValueError: no weight is above 0.
    """

    def __init__(
        self,
        corpus: Corpus,
        rng: random.Random,
        weights: Mapping[Kind, float] = DEFAULT_WEIGHTS,
        ids_by_arm: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._corpus = corpus
        self._rng = rng
        kept = {k: w for k, w in weights.items() if w > 0 and (k is not Kind.HOSTILE or corpus.hostile)}
        if not kept:
            raise ValueError("the mix sends nothing: no weight is above 0")
        self._kinds, self._weights = list(kept), list(kept.values())
        self._ids = {arm: list(ids) for arm, ids in (ids_by_arm or {}).items()}
        self._sent: deque[tuple[str, str, Clip]] = deque(maxlen=_REMEMBERED)

    def draw(self, arm: str | None = None, arm_share: float | None = None) -> Message:
        """The next message; with ``arm_share``, its id sticks to ``arm`` with that probability, else to another."""
        (kind,) = self._rng.choices(self._kinds, self._weights)
        video_id, title = self._new_id(arm, arm_share), self._title()
        if kind is Kind.TEXT:
            body, content_type = form({"title": title, "video_id": video_id}, None)
            return Message(kind, PATH, body, content_type, video_id, Expect.VERDICT)
        clip = self._pick(self._corpus.hostile if kind is Kind.HOSTILE else self._corpus.good)
        if kind is Kind.DUPLICATE and self._sent and arm_share is None:
            video_id, title, clip = self._rng.choice(self._sent)
        if kind is Kind.RAW:
            path = f"{PATH}?{urlencode({'title': title, 'video_id': video_id})}"
            return Message(kind, path, self._corpus.read(clip), media_type(clip), video_id, clip.expect)
        if kind is Kind.FORM:
            self._sent.append((video_id, title, clip))
        body, content_type = form({"title": title, "video_id": video_id}, self._corpus.read(clip))
        leave_s = self._rng.uniform(0.0, 0.2) if kind is Kind.LEAVE_WAITING else None
        share = self._rng.uniform(0.1, 0.9) if kind is Kind.LEAVE_UPLOADING else 1.0
        return Message(kind, PATH, body, content_type, video_id, clip.expect, leave_s, share)

    def _pick(self, clips: list[Clip]) -> Clip:
        return self._rng.choices(clips, [clip.weight for clip in clips])[0]

    def _title(self) -> str:
        return " ".join(self._rng.choices(_WORDS, k=self._rng.randint(3, 12)))

    def _new_id(self, arm: str | None, arm_share: float | None) -> str:
        if arm_share is None:
            return f"load-{self._rng.getrandbits(64):016x}"
        wanted = self._rng.random() < arm_share
        return self._rng.choice([i for name, ids in self._ids.items() if (name == arm) == wanted for i in ids])
