"""Starts a decode worker, hands it a clip, and says what came of it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.input_spec import InputSpec
from service.decoding.process import DecodeProcess, WorkerDied
from service.decoding.template import Forked, Template
from service.settings import DecodeSettings

HOSTILE = "tests.unit.service.sandbox.hostile_worker"
SPEC = InputSpec(frames=4, frame_size=32)
SLOT = int(np.prod(SPEC.frames_shape))
Answered = tuple[dict[str, Any], NDArray[np.uint8]]
"""An answer, and what is in the slot with it."""


async def started(settings: dict[str, Any], spool: Path | None = None) -> DecodeProcess:
    """A worker that takes jobs, forked as the service's are."""
    made = DecodeSettings.model_validate(settings)
    template = Template(made)
    process = DecodeProcess(made, SLOT, spool, template)
    try:
        async with asyncio.timeout(60):
            await process.ready()
        assert isinstance(process._child, Forked)
    except BaseException:
        await process.end()
        raise
    finally:
        await template.close()
    return process


async def ask(process: DecodeProcess, clip: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The worker's answer; ``{"ended": ...}`` with the signal's name where it has none."""
    descriptor = os.open(clip, os.O_RDWR)
    try:
        async with asyncio.timeout(60):
            return await process.decode(descriptor, SPEC, DecodeSettings.model_validate(settings).limits)
    except WorkerDied:
        code = await asyncio.to_thread(process._child.wait)
        return {"ended": signal.Signals(-code).name if code < 0 else code}
    finally:
        os.close(descriptor)


def decoded(
    clips: list[Path], settings: dict[str, Any] | None = None
) -> list[tuple[dict[str, Any], NDArray[np.uint8]]]:
    """One worker's answers to several clips, and what it left in the slot each time."""

    async def scenario() -> list[Answered]:
        process = await started(settings or {}, clips[0].parent)
        try:
            return [(await ask(process, clip, settings or {}), process.frames(SPEC)) for clip in clips]
        finally:
            await process.end()

    return asyncio.run(scenario())
