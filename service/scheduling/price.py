"""What a clip's container says -> seconds of decoding, learnt on line for each codec."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from contract.video import DecodeCost
from service.scheduling.estimate import Estimate

_S_PER_JOB = 0.002
_S_PER_PACKET = 15e-6
_S_PER_DECODED_PIXEL = 0.5e-9
_S_PER_CONVERTED_PIXEL = 3e-9
_S_PER_BYTE = 100e-9
"""Before anything is learnt: a recent x86-64 core, and on the low side, because a low guess is corrected by the first
clip while a high one would keep it out."""
_MAX_CODECS = 16
UNKNOWN = "unknown"
"""The codec of a clip of which nothing but its size is known."""


@dataclass(frozen=True)
class Price:
    """What one decode is expected to take.

    Attributes:
        codec: whose correction it learns.
        expected_s: before the correction.
        seconds: after it.
        margin: what to multiply with to be rarely too low.
        trusted: whether somebody may be refused because of it.
    """

    codec: str
    expected_s: float
    seconds: float
    margin: float
    trusted: bool


class PriceModel:
    """Predicts and learns; a correction for each codec, and one for codecs not met before.

    Args:
        most_s: no price is higher: a decode is ended then.
        clock: monotonic seconds.
    """

    def __init__(self, most_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_s = most_s
        self._clock = clock
        self._all = Estimate(clock=clock)
        self._codecs: dict[str, Estimate] = {}

    @property
    def trusted(self) -> bool:
        """Whether enough was measured, of whichever codec."""
        return self._all.trusted

    def price(self, cost: DecodeCost | None, size: int) -> Price:
        """The price of a clip.

        Args:
            cost: what its container says; None where it says nothing.
            size: bytes of the file.
        """
        return self.of(*((UNKNOWN, _by_size(size)) if cost is None else (cost.codec, expected_seconds(cost))))

    def of(self, codec: str, expected_s: float) -> Price:
        """The price of a clip of this codec that was expected to take so many seconds before any correction."""
        estimate = self._codecs.get(codec, self._all)
        seconds = min(self._most_s, expected_s * estimate.factor)
        return Price(codec, expected_s, seconds, estimate.margin, estimate.trusted and codec in self._codecs)

    def learn(self, price: Price, seconds: float, *, whole: bool = True) -> None:
        """Takes what a decode took.

        Args:
            price: as predicted.
            seconds: as measured.
            whole: False: it was broken off then, and would have taken longer.
        """
        ratio = seconds / price.expected_s
        for estimate in {self._all, self._of(price.codec)}:
            if whole:
                estimate.learn(ratio)
            else:
                estimate.learn_at_least(ratio)

    def _of(self, codec: str) -> Estimate:
        """The codec's own correction; it begins where the others are. A stranger's 17th codec has none of its own."""
        if codec not in self._codecs:
            if len(self._codecs) >= _MAX_CODECS:
                return self._all
            self._codecs[codec] = Estimate(self._all.factor, self._clock)
        return self._codecs[codec]


def expected_seconds(cost: DecodeCost) -> float:
    """Seconds before any correction: for each job, packet, decoded pixel and converted pixel."""
    pixels = cost.width * cost.height
    return (
        _S_PER_JOB
        + _S_PER_PACKET * cost.fed
        + _S_PER_DECODED_PIXEL * pixels * cost.fed
        + _S_PER_CONVERTED_PIXEL * pixels * cost.pictures
    )


def _by_size(size: int) -> float:
    return _S_PER_JOB + _S_PER_BYTE * size
