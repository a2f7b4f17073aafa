"""Workers forked from one process: ours as much as those that are started, and never many of one layout."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from service.decoding import template as template_module
from service.decoding.process import DecodeProcess
from service.decoding.template import WORN_AFTER, Forked, Template, TemplateLost
from service.settings import DecodeSettings
from tests.synthetic_bundle import SPEC
from tests.unit.service.stages.decode.pools import SLOT
from tests.until import until

SETTINGS = DecodeSettings()
ROOT = Path(__file__).parents[4]


def with_template(scenario: Callable[[Template], Awaitable[None]], settings: DecodeSettings = SETTINGS) -> None:
    async def run() -> None:
        template = Template(settings)
        try:
            async with asyncio.timeout(60):
                await scenario(template)
        finally:
            await template.close()

    asyncio.run(run())


async def born(template: Template) -> DecodeProcess:
    process = DecodeProcess(SETTINGS, SLOT, None, template)
    await process.ready()
    return process


async def codec_of(process: DecodeProcess, clip: Path) -> object:
    descriptor = os.open(clip, os.O_RDONLY)
    try:
        return (await process.decode(descriptor, SPEC, SETTINGS.limits))["codec"]
    finally:
        os.close(descriptor)


def nursery_of(template: Template) -> int:
    assert template._nursery is not None
    return template._nursery._process.pid


def status(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":")[1].split()[0] for line in lines if line.startswith(field))


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def arguments_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")


def test_a_fork_is_a_child_of_the_service_in_its_own_group_and_decodes(clip: Path) -> None:
    async def scenario(template: Template) -> None:
        first, second = await born(template), await born(template)
        try:
            assert isinstance(first._child, Forked)
            assert first.pid != second.pid
            for process in (first, second):
                assert int(status(process.pid, "PPid")) == os.getpid()
                assert os.getpgid(process.pid) == process.pid
                assert status(process.pid, "Seccomp") == "2"
                assert await codec_of(process, clip) == "h264"
        finally:
            await first.end()
            await second.end()
        assert first.exit_code == second.exit_code == -signal.SIGKILL

    with_template(scenario)


def test_how_a_fork_ended_is_told_and_no_zombie_stays() -> None:
    async def scenario(template: Template) -> None:
        process = await born(template)
        assert process.exit_code is None
        os.kill(process.pid, signal.SIGSEGV)
        await until(lambda: process.exit_code is not None)
        assert process.exit_code == -signal.SIGSEGV
        assert gone(process.pid)
        await process.end()
        assert process.exit_code == -signal.SIGSEGV

    with_template(scenario)


def test_forks_live_on_without_what_they_were_forked_from_and_the_next_start_finds_another_way(
    clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(template: Template) -> None:
        before = await born(template)
        lost = nursery_of(template)
        os.kill(lost, signal.SIGKILL)
        instead = await born(template)
        after = await born(template)
        try:
            assert not isinstance(instead._child, Forked)
            assert isinstance(after._child, Forked)
            assert nursery_of(template) != lost
            for process in (before, instead, after):
                assert await codec_of(process, clip) == "h264"
        finally:
            for process in (before, instead, after):
                await process.end()

    with caplog.at_level(logging.WARNING):
        with_template(scenario)
    assert [record.message for record in caplog.records] == [template_module._LOST]


def test_where_none_can_be_forked_that_is_not_tried_for_ever(
    clip: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def no_copy(*_: object) -> Forked:
        tried.append(True)
        raise TemplateLost

    tried: list[bool] = []
    monkeypatch.setattr(template_module._Nursery, "fork", no_copy)
    monkeypatch.setattr(template_module, "_HOPELESS_AFTER", 2)

    async def scenario(template: Template) -> None:
        for _ in range(3):
            process = await born(template)
            assert await codec_of(process, clip) == "h264"
            await process.end()

    with caplog.at_level(logging.WARNING):
        with_template(scenario)
    assert len(tried) == 2
    assert caplog.records[-1].message == template_module._LOST_FOR_GOOD


def test_a_copy_whose_number_was_never_told_answers_for_nobody(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was made, and then its origin was lost: the worker that is started instead is alone on its socket."""
    really, orphans = template_module._Nursery.fork, []

    async def lost(*arguments: Any) -> Forked:
        orphans.append(await really(*arguments))
        raise TemplateLost

    monkeypatch.setattr(template_module._Nursery, "fork", lost)

    async def scenario(template: Template) -> None:
        process = await born(template)
        assert process.pid != orphans[0].pid
        for _ in range(3):
            assert await codec_of(process, clip) == "h264"
        await until(lambda: orphans[0].poll() is not None)
        await process.end()

    with_template(scenario)


def test_what_cannot_be_renewed_costs_no_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(template: Template) -> None:
        def no_process(_: DecodeSettings) -> Any:
            raise BlockingIOError

        first, nursery = await born(template), template_module._Nursery
        old = nursery_of(template)
        monkeypatch.setattr(template_module, "_Nursery", no_process)
        for _ in range(WORN_AFTER):
            template.blame()
        assert [record.message for record in caplog.records] == [template_module._NOT_RENEWED]
        monkeypatch.setattr(template_module, "_Nursery", nursery)
        second = await born(template)
        assert nursery_of(template) == old
        for process in (first, second):
            await process.end()

    with caplog.at_level(logging.WARNING):
        with_template(scenario)


def test_a_service_that_shuts_down_starts_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[bool] = []
    monkeypatch.setattr(DecodeProcess, "_started", lambda _: started.append(True))

    async def scenario(template: Template) -> None:
        process = DecodeProcess(SETTINGS, SLOT, None, template)
        await template.close()
        await process.end()
        assert process.exit_code is None

    with_template(scenario)
    assert started == []


def test_after_a_few_deaths_by_clips_forks_come_from_another_process() -> None:
    async def scenario(template: Template) -> None:
        kept = [await born(template)]
        old = nursery_of(template)
        for _ in range(WORN_AFTER - 1):
            template.blame()
        kept.append(await born(template))
        assert nursery_of(template) == old
        template.blame()
        assert template._next is not None
        await asyncio.wait({template._next.loaded})
        kept.append(await born(template))
        try:
            assert nursery_of(template) != old
            await until(lambda: gone(old))
            assert all(process.exit_code is None for process in kept)
            template.blame()  # it counts anew
            assert template._next is None
        finally:
            for process in kept:
                await process.end()

    with_template(scenario)


DUMPABLE = """
import ctypes, sys
from contract.video import Backend
from service.decoding.nursery import serve

def told():
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))  # PR_GET_DUMPABLE
    sys.exit()

serve(Backend.PYAV, 0, hidden=sys.argv[1] == "hidden", load=told, work=print)
"""


@pytest.mark.parametrize(("how", "dumpable"), [("hidden", "0"), ("open", "1")])
def test_where_all_is_in_the_workers_memory_is_told_to_nobody(how: str, dumpable: str) -> None:
    found = subprocess.run([sys.executable, "-c", DUMPABLE, how], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert found.stdout.strip() == dumpable, found.stderr


@pytest.mark.parametrize("omitted", [(), ("hidden",)])
def test_a_nursery_is_hidden_as_its_forks_are(omitted: tuple[str, ...]) -> None:
    settings = DecodeSettings.model_validate({"sandbox": {"omitted": omitted}})

    async def scenario(template: Template) -> None:
        process = DecodeProcess(settings, SLOT, None, template)
        await process.ready()
        await process.end()
        assert arguments_of(nursery_of(template))[-1] == ("open" if omitted else "hidden")

    with_template(scenario, settings)


def test_a_worker_that_is_given_up_while_it_is_born_is_buried() -> None:
    async def scenario(template: Template) -> None:
        process = DecodeProcess(SETTINGS, SLOT, None, template)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await process.ready()
        await process.end()
        assert process.exit_code is not None

    with_template(scenario)
