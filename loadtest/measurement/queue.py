"""Whether a queue is stationary: a rate counts as held only where what is in flight does not grow.

A service that cannot follow still answers the first arrivals in time: over a few seconds every limit holds while the
queue grows. Its length is then a random walk: over a window with ``n`` arrivals it strays by about the square root of
``n``, even without a drift. A queue that is kept up with comes back again and again: it stays within narrower bounds.
So, over the second part of a stage (in the first one the queue may still fill or empty), in 20 blocks of equal length:

    stationary   the blocks' means lie within 0.49 sqrt(n) of each other: one random walk in a hundred does
    growing      their median slope (Theil-Sen) times the window is above 2.55 sqrt(2 n): one walk without drift in a
                 hundred gets there (2: arrivals and answers vary alike; with steadier answers it is fewer)
    undecided    neither: the stage was too short for its rate, or the rate is close to what can be held

Tests of a trend by ranks (Mann-Kendall, Theil-Sen's own interval) are not used: they take the blocks for independent,
which those of a queue are not. In simulated stages of 6 s they call a quarter to a third of the queues at 105 % of the
capacity stationary, and a quarter of those at 95 % growing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

BLOCKS = 20
CONFINED, RISE = 0.49, 2.55 * 2**0.5


class QueueState(StrEnum):
    """What is known of a queue."""

    STATIONARY = "stationary"
    GROWING = "growing"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Queue:
    """The queue over the second part of a stage.

    Attributes:
        state: what follows.
        arrivals: requests that were due in it.
        spread: between the means of its fullest and its emptiest block, requests in flight.
        rise: from its begin to its end, by the median slope, requests in flight.
    """

    state: QueueState
    arrivals: int
    spread: float
    rise: float


def queue_of(flights: Iterable[tuple[float, float]], begin_s: float, end_s: float) -> Queue:
    """The queue of a stage.

    Args:
        flights: when each request was due, and when it was done (inf: not yet); those due before the stage as well.
        begin_s, end_s: of the stage.
    """
    middle_s = (begin_s + end_s) / 2
    here = np.array([flight for flight in flights if flight[1] > middle_s and flight[0] < end_s]).reshape(-1, 2)
    arrivals = int((here[:, 0] >= middle_s).sum())
    if not arrivals:
        return Queue(QueueState.UNDECIDED, 0, 0.0, 0.0)
    means = mean_in_flight(here, np.linspace(middle_s, end_s, BLOCKS + 1))
    earlier, later = np.triu_indices(BLOCKS, 1)
    rise = BLOCKS * float(np.median((means[later] - means[earlier]) / (later - earlier)))
    spread, walk = float(np.ptp(means)), arrivals**0.5
    state = QueueState.UNDECIDED
    if spread < CONFINED * walk:
        state = QueueState.STATIONARY
    elif rise > RISE * walk:
        state = QueueState.GROWING
    return Queue(state, arrivals, round(spread, 3), round(rise, 3))


def mean_in_flight(
    flights: Sequence[tuple[float, float]] | NDArray[np.float64], edges_s: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Requests in flight, from when each was due, on average between each two of ``edges_s``."""
    due_s, done_s = np.asarray(flights, dtype=float).reshape(-1, 2).T
    flown_s = [np.clip(np.minimum(done_s, edge_s) - due_s, 0, None).sum() for edge_s in edges_s]
    return np.diff(flown_s) / np.diff(edges_s)
