"""Permits for bodies on their way in, apart from those for work: who sends slowly takes nobody's turn at the decoders.

An upload is looked at every ``slow_after_seconds``. It is given up with 408, and by this module alone,

    rate       where it brought too little over ``body.stall_seconds``
    deadline   where its request's time is over before it has all come
    peer       where it is slow and its peer has as many slow ones as it may
    gave_way   where it is the slowest of the slow ones and a new body finds no room
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType

from service.errors import Draining, NotReady, Overloaded, UploadStalled
from service.metrics import Metrics
from service.settings import UploadSettings

GIVEN_UP = {
    "rate": "the body came too slowly: send it again over a faster connection",
    "deadline": "the request's time was over before its body had come: allow more in X-Request-Timeout-Ms",
    "peer": "too many slow uploads from your address: send them one after another",
    "gave_way": "the body came slowly while others waited for its place: send it again",
}
"""Reason (the label of ``cpfd_uploads_given_up``) -> what its sender is told."""
SHED_REASONS = ("uploads", "upload_bytes")
_RETRY_AFTER_S = 2


class Uploading:
    """One body's permit. Use as a context manager; ``paced`` around what reads the body."""

    def __init__(self, uploads: Uploads, peer: str, reserved: int) -> None:
        self._uploads = uploads
        self.peer, self.reserved = peer, reserved
        self._loop = asyncio.get_running_loop()
        self.began = self._window_began = self._loop.time()
        self._bytes = self._window_bytes = 0
        self._awaited = False
        self._clock: asyncio.Timeout | None = None
        self._why = "deadline"
        self._tick: asyncio.TimerHandle | None = None

    def received(self, count: int) -> None:
        self._bytes += count
        self._window_bytes += count

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Around each wait for the sender: what happens on this side in between is not the sender's slowness."""
        self._awaited = True
        try:
            yield
        finally:
            self._awaited = False

    @asynccontextmanager
    async def paced(self, seconds: float) -> AsyncIterator[None]:
        """Ends what it surrounds when the body is given up, at the latest after ``seconds``.

        Raises:
            UploadStalled: it was.
        """
        try:
            async with asyncio.timeout(None if math.isinf(seconds) else max(0.0, seconds)) as self._clock:
                self._look_again()
                yield
        except TimeoutError:
            self._uploads.given_up(self._why)
            raise UploadStalled(GIVEN_UP[self._why]) from None
        finally:
            self._clock = None
            if self._tick is not None:
                self._tick.cancel()

    def give_up(self, why: str) -> None:
        if self._clock is not None:
            self._why = why
            self._clock.reschedule(self._loop.time())

    @property
    def bytes_per_second(self) -> float:
        return self._bytes / max(1e-3, self._loop.time() - self.began)

    def _look_again(self) -> None:
        self._tick = self._loop.call_later(self._uploads.look_every_s, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if not self._awaited:
            self._window_began, self._window_bytes = now, 0
        elif now - self._window_began >= self._uploads.window_s:
            if self._window_bytes < self._uploads.settings.min_bytes_per_second * (now - self._window_began):
                self.give_up("rate")
                return
            self._window_began, self._window_bytes = now, 0
        if self._uploads.too_many_slow(self):
            self.give_up("peer")
            return
        self._look_again()

    def __enter__(self) -> Uploading:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._uploads.release(self)


class Uploads:
    """Gives permits for bodies. Lives on the event loop: nothing here waits or locks.

    Args:
        settings: the bounds.
        window_s: over which the least rate is asked for.
        refusal: why the service takes nothing at all now, or None.
        metrics: where it shows.
    """

    def __init__(
        self,
        settings: UploadSettings,
        window_s: float,
        refusal: Callable[[], Draining | NotReady | None],
        metrics: Metrics,
    ) -> None:
        self.settings = settings
        self.window_s = window_s
        self.look_every_s = min(settings.slow_after_seconds, window_s)
        self._refusal = refusal
        self._metrics = metrics
        self._held: set[Uploading] = set()
        self._slow: defaultdict[str, set[Uploading]] = defaultdict(set)
        self._bytes = 0
        for reason in SHED_REASONS:
            metrics.shed.labels(reason)
        for reason in GIVEN_UP:
            metrics.uploads_given_up.labels(reason)

    @property
    def count(self) -> int:
        return len(self._held)

    def admit(self, peer: str, body_bytes: int) -> Uploading:
        """A permit for a body of at most ``body_bytes``.

        Raises:
            Draining, NotReady: nothing is taken now.
            Overloaded: no room, and nobody slow who could give way.
        """
        refusal = self._refusal()
        if refusal is not None:
            self._metrics.shed.labels(refusal.code).inc()
            raise refusal
        while True:
            full = len(self._held) >= self.settings.max_count
            if not full and self._bytes + body_bytes <= self.settings.max_bytes:
                break
            slow = [upload for of_peer in self._slow.values() for upload in of_peer]
            if not slow:
                self._metrics.shed.labels(SHED_REASONS[0 if full else 1]).inc()
                raise Overloaded(
                    "too many uploads at once: send the request again after the seconds in Retry-After",
                    retry_after_s=_RETRY_AFTER_S,
                )
            slowest = min(slow, key=lambda upload: upload.bytes_per_second)
            slowest.give_up("gave_way")
            self.release(slowest)
        permit = Uploading(self, peer, body_bytes)
        self._held.add(permit)
        self._change(body_bytes)
        return permit

    def too_many_slow(self, upload: Uploading) -> bool:
        """Notes whether the upload is slow now; True if it is one too many of its peer's."""
        of_peer = self._slow[upload.peer]
        of_peer.discard(upload)
        if upload in self._held and upload.bytes_per_second < self.settings.slow_bytes_per_second:
            if self.settings.max_slow_per_peer and len(of_peer) >= self.settings.max_slow_per_peer:
                return True
            of_peer.add(upload)
        if not of_peer:
            del self._slow[upload.peer]
        return False

    def given_up(self, why: str) -> None:
        self._metrics.uploads_given_up.labels(why).inc()

    def release(self, upload: Uploading) -> None:
        """Takes the permit back, once."""
        if upload in self._held:
            self._held.remove(upload)
            self._slow[upload.peer].discard(upload)
            if not self._slow[upload.peer]:
                del self._slow[upload.peer]
            self._change(-upload.reserved)

    def _change(self, body_bytes: int) -> None:
        self._bytes += body_bytes
        self._metrics.uploads.set(len(self._held))
        self._metrics.upload_bytes.set(self._bytes)
