"""Where a protection cannot be had, or is too much, the start says so; and who is hidden stays able to work."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.decoding.process import DecodeProcess, WorkerDied
from service.metrics import Metrics
from service.sandbox.protections import Protection, SandboxSettings
from service.sandbox.report import SandboxReport
from service.settings import DecodeSettings
from tests.synthetic_bundle import write_clip
from tests.unit.service.sandbox.workers import SLOT, ask, started

ROOT = Path(__file__).parents[4]
HERE = "tests.unit.service.sandbox"
FROM_THE_KERNEL = {Protection.NETWORK_NAMESPACE, Protection.LANDLOCK, Protection.SECCOMP}


def last_words(settings: dict[str, Any]) -> str:
    """What a worker says that does not start."""

    async def scenario() -> str:
        process = DecodeProcess(DecodeSettings.model_validate(settings), SLOT)
        try:
            with pytest.raises(WorkerDied):
                await process.ready()
            return process.last_words()
        finally:
            await process.end()

    return asyncio.run(scenario())


def test_a_poor_kernel_is_told_and_still_decodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("service.decoding.start._MODULE", f"{HERE}.poor_worker")

    async def scenario() -> None:
        process = await started({})
        try:
            lacking = {name: why for name, why in process.protections.items() if why is not None}
            assert set(lacking) == FROM_THE_KERNEL
            assert set(lacking.values()) == {"refused: Function not implemented"}
            assert (await ask(process, write_clip(tmp_path / "clip.mp4"), {}))["codec"] == "h264"
        finally:
            await process.end()

    asyncio.run(scenario())


@pytest.mark.parametrize("protection", sorted(FROM_THE_KERNEL))
def test_a_required_protection_that_is_lacking_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, protection: Protection
) -> None:
    monkeypatch.setattr("service.decoding.start._MODULE", f"{HERE}.poor_worker")
    assert f"decode.sandbox.required: {protection} cannot be had" in last_words({"sandbox": {"required": [protection]}})


def test_a_filter_that_decoding_cannot_live_with_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.decoding.start._MODULE", f"{HERE}.starved_worker")
    assert "confined, the decoder does not work" in last_words({})


def test_what_every_kernel_has_is_always_in_force_and_what_is_omitted_is_not_tried() -> None:
    async def scenario(settings: dict[str, Any]) -> dict[str, str | None]:
        process = await started(settings)
        await process.end()
        return process.protections

    everywhere = set(Protection) - FROM_THE_KERNEL
    assert {name: asyncio.run(scenario({}))[name] for name in everywhere} == dict.fromkeys(everywhere)
    omitted = {"sandbox": {"omitted": ["seccomp", "hidden"]}}
    assert asyncio.run(scenario(omitted))["seccomp"] == "omitted by the settings"


def test_a_protection_cannot_be_both_required_and_omitted() -> None:
    with pytest.raises(ValidationError, match="seccomp cannot be both"):
        SandboxSettings(required=(Protection.SECCOMP,), omitted=(Protection.SECCOMP,))


def test_each_outcome_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    report = SandboxReport(metrics)

    def shown(protection: str) -> float | None:
        return metrics.registry.get_sample_value("cpfd_decode_protection", {"protection": protection})

    whole: dict[str, str | None] = dict.fromkeys(protection.value for protection in Protection)
    with caplog.at_level(logging.INFO):
        report.tell(whole)
        report.tell(whole)
        assert [(r.levelname, r.message) for r in caplog.records] == [("INFO", "decode workers are confined")]
        assert {shown(protection) for protection in whole} == {1.0}
        report.tell(whole | {"network_namespace": "refused: Operation not permitted"})
        assert caplog.records[-1].levelname == "INFO"
        report.tell(whole | {"seccomp": "omitted by the settings"})
    assert caplog.records[-1].levelname == "WARNING"
    assert caplog.records[-1].__dict__["fields"]["lacking"] == {"seccomp": "omitted by the settings"}
    assert (shown("seccomp"), shown("network_namespace")) == (0.0, 1.0)


LOOK_INTO_PARENT = """
import os, subprocess, sys
from service.sandbox.kernel import PR_SET_DUMPABLE, hide_process, process_control
if os.geteuid() == 0:
    os.setgroups([]), os.setresgid(65534, 65534, 65534), os.setresuid(65534, 65534, 65534)
process_control(PR_SET_DUMPABLE, 1)  # a change of user hides a process too
if sys.argv[1] == "hide":
    hide_process()
file = os.memfd_create("held")
os.write(file, b"held")
child = os.fork()
if child == 0:
    try:
        open(f"/proc/{os.getppid()}/environ", "rb").read()
        open(f"/proc/{os.getppid()}/fd/{file}", "rb").read()
    except PermissionError:
        os._exit(3)
    os._exit(0)
looked = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
own = open(f"/proc/self/fd/{file}", "rb").read()
os.lseek(file, 0, 0)
handed = subprocess.run(["cat", f"/proc/self/fd/{file}"], pass_fds=[file], capture_output=True).stdout
print(looked, own, handed)
"""


@pytest.mark.parametrize(("how", "looked"), [("plain", 0), ("hide", 3)])
def test_a_hidden_process_is_closed_to_its_children_and_open_to_itself(how: str, looked: int) -> None:
    result = subprocess.run(
        [sys.executable, "-c", LOOK_INTO_PARENT, how], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout == f"{looked} b'held' b'held'\n", result.stderr


def test_a_worker_holds_no_descriptor_longer_than_its_job(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")

    async def scenario() -> None:
        process = await started({"sandbox": {"omitted": ["hidden"]}})
        try:
            counts = []
            for _ in range(4):
                assert (await ask(process, clip, {}))["codec"] == "h264"
                counts.append(len(os.listdir(f"/proc/{process.pid}/fd")))  # noqa: PTH208
            assert len(set(counts)) == 1
        finally:
            await process.end()

    asyncio.run(scenario())
