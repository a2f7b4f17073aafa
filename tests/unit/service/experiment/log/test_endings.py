"""How a request ended: each way out leaves its record, and those before assignment none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import read_bundle
from contract.decision_log import Decision, Record
from contract.errors import TruncatedMedia
from service.api.routes import while_connected
from service.api.schemas import VERDICT_EXAMPLE, Verdict
from service.context import RequestContext
from service.errors import ClientGone, LogUnavailable, Overloaded
from service.experiment.log.endings import Endings
from service.experiment.log.writer import NullLog
from service.experiment.plan import Assignment
from service.metrics import NO_ARM
from tests.synthetic_bundle import write_synthetic_bundle


class Memory(NullLog):
    """A log in a list."""

    kept = True

    def __init__(self) -> None:
        self.appended: list[Record] = []
        self.offered: list[Record] = []
        self.full = False

    async def append(self, *records: Record) -> None:
        if self.full:
            raise LogUnavailable("full")
        self.appended += records

    def offer(self, *records: Record) -> None:
        self.offered += records


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_bundle(tmp_path_factory.mktemp("bundle") / "student")


ASSIGNED = Assignment("e", "student", "video_id", "1" * 64, {"student": 1.0})


def ended(folder: Path, work: Callable[[], Any], log: Memory, assignment: Assignment | None = ASSIGNED) -> Any:
    """What becomes of a request whose work is ``work``."""
    arm = NO_ARM if assignment is None else assignment.arm
    context = RequestContext("caller-1", arm=arm, assignment=assignment, costs={"decode_cpu_s": 0.25})
    endings = Endings(log, {"student": read_bundle(folder)})

    async def run() -> Any:
        async with endings.of(context, 1234) as ending:
            ending.verdict = work()

    asyncio.run(run())


def only(log: Memory) -> Decision:
    (record,) = log.appended + log.offered
    assert isinstance(record, Decision)
    return record


def test_a_verdict(folder: Path) -> None:
    log = Memory()
    ended(folder, lambda: Verdict.model_validate(VERDICT_EXAMPLE), log)
    found = only(log)
    assert (found.code, found.experiment, found.bytes, found.decode_cpu_s) == ("ok", "e", 1234, 0.25)
    assert found.bundle_digest == read_bundle(folder).digest
    assert found.tasks["violence"].evidence == ((120.0, -0.8), (360.0, -1.2))
    assert found.frame_times_ms == (120.0, 360.0)
    assert not log.offered


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Overloaded("later"), "overloaded"),
        (TruncatedMedia("whole"), "truncated_video"),
        (KeyError("a defect"), "internal_error"),
    ],
)
def test_a_refusal_and_a_defect(folder: Path, error: Exception, code: str) -> None:
    log = Memory()

    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        ended(folder, fail, log)
    found = only(log)
    assert (found.code, found.tasks, found.modalities) == (code, {}, ())
    assert not log.offered


def test_a_logged_refusal_still_says_where_the_request_was(folder: Path) -> None:
    context = RequestContext("caller-1", arm="student", assignment=ASSIGNED)
    endings = Endings(Memory(), {"student": read_bundle(folder)})

    async def run() -> None:
        async with endings.of(context, 1):
            with context.in_stage("decode"):
                raise TruncatedMedia("whole")

    with pytest.raises(TruncatedMedia):
        asyncio.run(run())
    assert context.stage == "decode"
    assert "log" in context.timings_ms


def test_what_was_never_assigned_is_not_in_the_log(folder: Path) -> None:
    log = Memory()

    def fail() -> None:
        raise Overloaded("later")

    with pytest.raises(Overloaded):
        ended(folder, fail, log, assignment=None)
    assert log.appended + log.offered == []


def test_nobody_is_told_a_verdict_that_the_log_does_not_hold(folder: Path) -> None:
    log = Memory()
    log.full = True
    with pytest.raises(LogUnavailable):
        ended(folder, lambda: Verdict.model_validate(VERDICT_EXAMPLE), log)


@pytest.mark.parametrize("code", ["client_gone", "draining"])
def test_work_that_nobody_waits_for_is_recorded_without_waiting(folder: Path, code: str) -> None:
    log, context = Memory(), RequestContext("caller-1", arm="student", assignment=ASSIGNED)
    endings = Endings(log, {"student": read_bundle(folder)})

    class Leaving:
        """A request whose client is gone once its body was read."""

        scope = {"cpfd.context": context}  # noqa: RUF012

        async def receive(self) -> dict[str, str]:
            return {"type": "http.disconnect"}

    async def work() -> None:
        async with endings.of(context, 1):
            if code == "client_gone":
                context.body_read.set()
            await asyncio.sleep(60)

    async def run() -> None:
        if code == "client_gone":
            with pytest.raises(ClientGone):
                await while_connected(Leaving(), work())  # type: ignore[arg-type]
            return
        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert only(log).code == code
    assert not log.appended
