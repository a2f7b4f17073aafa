"""Counters that alerts read are there, at 0, before anything happens: increase() does not see a series' birth."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from service.api.edge import count_from_zero
from service.errors import Draining, NotReady, Overloaded
from service.metrics import Metrics
from service.scheduling import backlog
from service.scheduling.backlog import Backlog
from service.settings import AdmissionSettings, DecodeSettings
from service.stages import admission
from service.stages.admission import Admission
from service.stages.decode import DecodePool
from service.stages.inference import Lanes
from service.stages.microbatch import MicroBatcher
from service.workers import processes
from service.workers.processes import RESTART_REASONS


def zeros(metrics: Metrics, name: str) -> set[str]:
    """The label sets of a counter, all of which must be at 0."""
    found = re.findall(rf"(?m)^{name}_total\{{(.*)\}} (\S+)$", metrics.exposition().decode())
    assert {value for _, value in found} == {"0.0"}
    return {labels for labels, _ in found}


def test_outcomes_of_every_arm() -> None:
    metrics = Metrics()
    count_from_zero(metrics, ["baseline", "student"])
    shown = zeros(metrics, "cpfd_requests")
    for arm in ("baseline", "student"):
        of_arm = {re.search(r'outcome="(\w+)"', labels)[1] for labels in shown if f'arm="{arm}"' in labels}  # type: ignore[index]
        assert of_arm == {"answered", "shed", "failed", "expired", "gone"}
    assert not [labels for labels in shown if 'arm="none"' in labels and "answered" in labels]


def test_reasons_to_shed() -> None:
    metrics = Metrics()
    refusals: list[Draining | NotReady | None] = [None, None, NotReady("x"), Draining("x")]
    bounds = AdmissionSettings(max_requests=1, max_bytes=10)
    made = Admission(bounds, lambda: refusals[0], lambda: Overloaded("later", retry_after_s=1), metrics)
    shown = zeros(metrics, "cpfd_shed")
    made.admit(10)
    for refusal in refusals:
        refusals[0] = refusal
        with pytest.raises((Draining, NotReady, Overloaded)):
            made.admit(1)
    assert {f'reason="{reason}"' for reason in admission.SHED_REASONS} == shown
    assert set(re.findall(r"cpfd_shed_total\{(.*)\}", metrics.exposition().decode())) == shown


def test_reasons_to_shed_priced_work() -> None:
    metrics = Metrics()
    Backlog(10.0, 1, 1, metrics)
    assert zeros(metrics, "cpfd_shed") == {f'reason="{reason}"' for reason in backlog.SHED_REASONS}
    assert zeros(metrics, "cpfd_retry_promises") == {'outcome="kept"', 'outcome="missed"'}
    source = Path(backlog.__file__).read_text()
    given = set(re.findall(r'"(\w+)" if |return "(\w+)"|labels\("(\w+)"\)', source))
    named = {name for names in given for name in names if name}
    assert named - {"decode", "inference", "kept", "missed"} == set(backlog.SHED_REASONS)


def test_reasons_to_replace_a_worker() -> None:
    metrics = Metrics()

    async def make() -> None:
        DecodePool(DecodeSettings(workers=1), 1024, Backlog(10.0, 1, 1, metrics), metrics)

    asyncio.run(make())
    assert zeros(metrics, "cpfd_decode_worker_restarts") == {f'reason="{reason}"' for reason in RESTART_REASONS}
    source = Path(processes.__file__).read_text()
    given = set(re.findall(r'(?:return|reason =) "(\w+)"', source))
    assert given == set(RESTART_REASONS)


def test_restarts_of_a_batcher() -> None:
    metrics = Metrics()

    async def make() -> None:
        lanes = Lanes(1)
        MicroBatcher("student", lambda *_: [], 1, lanes, metrics)  # type: ignore[arg-type, return-value]
        lanes.close()

    asyncio.run(make())
    assert zeros(metrics, "cpfd_batcher_restarts") == {'arm="student"'}
