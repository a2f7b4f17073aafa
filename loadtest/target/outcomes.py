"""What an answer counts as. Strict: an error that is not typed, or a verdict for garbage, is a failure."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from loadtest.measurement.samples import NO_ARM, Outcome
from loadtest.target.exchange import ELSEWHERE, Reply
from loadtest.traffic.corpus import Expect
from loadtest.traffic.mix import Message

PROBLEM_TYPE = "application/problem+json"
SHED_STATUSES = frozenset({429, 503})
SHED_CODES = ELSEWHERE | {"overloaded"}
_REMEMBERED = 10_000


class Judgement(NamedTuple):
    """What an answer counts as, why, and which arm gave it."""

    outcome: Outcome
    code: str
    arm: str


class Judge:
    """Judges answers, and remembers which arm each id was answered by: it must stay the same."""

    def __init__(self) -> None:
        self._arms: OrderedDict[str, str] = OrderedDict()

    def judge(self, message: Message, reply: Reply) -> Judgement:
        """What ``reply`` counts as for ``message``.

        ========================================================  ========
        a verdict for what deserves one                           answered
        a typed 4xx for what deserves one                         refused
        a typed 429 or 503 with Retry-After                       shed
        the client left on purpose                                gone
        all else: wrong arm, untyped error, 5xx, broken connection  failed
        ========================================================  ========
        """
        arm = reply.arm or self._arms.get(message.video_id or "", NO_ARM)
        if reply.left:
            return Judgement(Outcome.GONE, "left", arm)
        if reply.fault:
            return Judgement(Outcome.FAILED, reply.fault, arm)
        if reply.status == 200:
            return self._verdict(message, reply, arm)
        return self._problem(message, reply, arm)

    def _verdict(self, message: Message, reply: Reply, arm: str) -> Judgement:
        document = reply.document()
        if not document.get("tasks") or document.get("arm") != reply.arm:
            return Judgement(Outcome.FAILED, "malformed_verdict", arm)
        if message.expect is Expect.PROBLEM:
            return Judgement(Outcome.FAILED, "verdict_for_hostile", arm)
        if message.video_id is not None and self._remember(message.video_id, arm) != arm:
            return Judgement(Outcome.FAILED, "arm_changed", arm)
        return Judgement(Outcome.ANSWERED, "ok", arm)

    def _problem(self, message: Message, reply: Reply, arm: str) -> Judgement:
        document = reply.document()
        code = document.get("code")
        typed = reply.headers.get("content-type", "").partition(";")[0] == PROBLEM_TYPE
        if not typed or not isinstance(code, str) or document.get("status") != reply.status:
            return Judgement(Outcome.FAILED, f"untyped_{reply.status}", arm)
        if reply.status in SHED_STATUSES and code in SHED_CODES:
            if not reply.headers.get("retry-after", "").isdecimal():
                return Judgement(Outcome.FAILED, "shed_without_retry_after", arm)
            return Judgement(Outcome.SHED, code, arm)
        if 400 <= reply.status < 500 and reply.status not in SHED_STATUSES and message.expect is not Expect.VERDICT:
            return Judgement(Outcome.REFUSED, code, arm)
        return Judgement(Outcome.FAILED, code, arm)

    def _remember(self, video_id: str, arm: str) -> str:
        """The arm that first answered the id, among the latest ids."""
        first = self._arms.setdefault(video_id, arm)
        self._arms.move_to_end(video_id)
        if len(self._arms) > _REMEMBERED:
            self._arms.popitem(last=False)
        return first
