"""Cores: how many this process may use, by the scheduler's mask and its control group's quota, and who goes first."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path

_V1_CONTROLLER = "cpu"
BEHIND_THE_LOOP = 5
"""By how much what computes is nicer. The event loop needs a core for moments only, but then at once: a refusal that
waits behind a decode is as late as an answer."""

LAST = 19
"""The niceness of what has only what the others leave."""


def available_cores(root: Path = Path("/")) -> int:
    """The cores this process may use, at least 1; a quota of part of a core counts as a whole one.

    A container's CPU limit is a quota, which the scheduler's mask does not show: 2 cores' worth of time on a node of 64
    would otherwise start 64 workers that throttle each other.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    mask = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = quota_cores(root)
    return mask if quota is None else max(1, min(mask, math.ceil(quota)))


def idle_time_is_free(root: Path = Path("/")) -> bool:
    """Whether what runs while nothing else wants a core takes nothing from this process.

    Under a quota that is smaller than the cores it uses up what the others then lack.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    quota = quota_cores(root)
    return hasattr(os, "SCHED_IDLE") and (quota is None or quota >= len(os.sched_getaffinity(0)))


def quota_cores(root: Path) -> float | None:
    """The smallest quota on the way from this process's control group to the top, in cores; None without one."""
    quotas = [quota for directory in _unified(root) if (quota := _quota_v2(directory)) is not None]
    quotas += [quota for directory in _legacy(root) if (quota := _quota_v1(directory)) is not None]
    return min(quotas, default=None)


def step_back() -> None:
    """Lets the event loop go first: the calling thread, and the threads and processes that it starts, yield to it.

    Where the kernel groups processes by session (``sched_autogroup``, outside of containers with a share of the CPU)
    it orders the threads of one session alone: decoders stay in this one. Threads of onnxruntime's own
    (``lanes.intra_threads`` above 1) do not step back.
    """
    thread = threading.get_native_id()
    niceness = os.getpriority(os.PRIO_PROCESS, thread) + BEHIND_THE_LOOP
    os.setpriority(os.PRIO_PROCESS, thread, min(LAST, niceness))


def _unified(root: Path) -> list[Path]:
    return _upwards(root / "sys/fs/cgroup", _own_group(root, ""))


def _legacy(root: Path) -> list[Path]:
    return _upwards(root / "sys/fs/cgroup" / _V1_CONTROLLER, _own_group(root, _V1_CONTROLLER))


def _own_group(root: Path, controller: str) -> str:
    """This process's group below the controller's mount; the mount itself where it is not said.

    Inside a container the path may be the host's, which is not mounted there: then only the mount itself has files.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controller in controllers.split(","):
            return group.strip("/")
    return ""


def _upwards(mount: Path, group: str) -> list[Path]:
    parts = [part for part in group.split("/") if part not in ("", "..")]
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _quota_v2(directory: Path) -> float | None:
    return _ratio(_read(directory / "cpu.max").split())


def _quota_v1(directory: Path) -> float | None:
    return _ratio([_read(directory / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")])


def _ratio(words: list[str]) -> float | None:
    """Quota over period; None where there is none (``max``, -1) or nothing was read."""
    if len(words) != 2 or not all(word.isdigit() for word in words) or 0 in map(int, words):
        return None
    return int(words[0]) / int(words[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
