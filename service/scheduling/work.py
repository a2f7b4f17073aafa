"""One accepted request's work, and who waits for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from service.scheduling.policy import Key, Priority, order_key
from service.scheduling.price import Price


class Urgency(Protocol):
    """Who waits: may change while the work is under way, since others may join or leave."""

    @property
    def earliest(self) -> float:
        """The first deadline, in monotonic seconds: it says how urgent the work is."""

    @property
    def latest(self) -> float:
        """The last deadline: after it the work is of no use to anybody."""

    @property
    def priority(self) -> Priority:
        """The highest."""


@dataclass(frozen=True)
class OneCaller:
    """The urgency of a single caller."""

    deadline: float
    priority: Priority = Priority.INTERACTIVE

    @property
    def earliest(self) -> float:
        return self.deadline

    @property
    def latest(self) -> float:
        return self.deadline


class Stage(Enum):
    """Where accepted work is."""

    ACCEPTED = auto()
    WAITING = auto()
    RUNNING = auto()
    DECODED = auto()
    GONE = auto()


@dataclass(eq=False)
class Work:
    """What one request costs and how far it is.

    Attributes:
        urgency: who waits.
        arrived: when it came, in monotonic seconds.
        price: of its decode; None: there is nothing to decode.
        model_s: seconds on a lane.
        model_margin: what to multiply them with to be rarely too low.
        who: what makes it the same request when it comes back; None: nobody can tell.
        stage: where it is; ``Backlog`` moves it on.
        began: when its decode began, then when the decode ended.
        keeps_core: whether it keeps its worker's core until the model has run: lanes on the CPU take no other.
        set_aside: whether its decode has stepped back and leaves its core to others.
        hurried: whether it was promised a turn that it would miss by waiting for its turn among all.
    """

    urgency: Urgency
    arrived: float
    price: Price | None
    model_s: float
    who: str | None = None
    model_margin: float = 1.1
    stage: Stage = Stage.ACCEPTED
    began: float = 0.0
    keeps_core: bool = False
    set_aside: bool = False
    hurried: bool = False
    key: Key = field(init=False)
    decode_s: float = field(init=False)
    margin: float = field(init=False)

    def __post_init__(self) -> None:
        self.decode_s = self.price.seconds if self.price is not None else 0.0
        parts = [(self.model_s, self.model_margin)]
        if self.price is not None:
            parts.append((self.decode_s, self.price.margin))
        whole_s = sum(seconds for seconds, _ in parts)
        self.margin = sum(seconds * margin for seconds, margin in parts) / whole_s if whole_s else 1.0
        self.key = self.order()

    @property
    def latest(self) -> float:
        return self.urgency.latest

    @property
    def rank(self) -> int:
        return self.key[0]

    @property
    def bulk(self) -> bool:
        return self.rank > 0

    @property
    def yields(self) -> bool:
        """Whether its decode has nothing but what all others leave of the cores: nobody in good standing waits."""
        return self.rank == Priority.LAST.rank

    @property
    def trusted(self) -> bool:
        """Whether it may be refused for what it costs."""
        return self.price is None or self.price.trusted

    def order(self) -> Key:
        """Its order in the queue as things are now."""
        latest_start = self.urgency.earliest - self.margin * self.whole_s
        return order_key(self.urgency.priority, self.arrived, latest_start, self.held_s)

    def keep_core(self, keeps: bool) -> None:
        """Says whether it keeps its core; that is part of its order."""
        self.keeps_core = keeps
        self.key = self.order()

    @property
    def held_s(self) -> float:
        """Seconds for which it holds a core of the workers."""
        return self.decode_s + (self.model_s if self.keeps_core else 0.0)

    @property
    def whole_s(self) -> float:
        """Seconds from the start of its decode to its verdict."""
        return self.decode_s + self.model_s

    def left_s(self, now: float) -> float:
        """Seconds for which it still holds its core; what is overdue takes a quarter more of what it took."""
        took = now - self.began
        if self.stage is Stage.GONE:  # it stops at its next packet
            return 0.0
        if self.stage is Stage.DECODED:
            return max(self.model_s - took, 0.25 * took)
        return max(self.decode_s - took, 0.25 * took) + (self.model_s if self.keeps_core else 0.0)

    def hopeless(self, now: float) -> bool:
        """Whether it cannot be in time any more, started now."""
        needed = self.whole_s if self.trusted else 0.0
        return now + needed > self.urgency.latest
