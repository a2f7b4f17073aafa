"""Cores: the scheduler's mask and the control group's quota, whichever is less."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service import cores
from service.cores import BEHIND_THE_LOOP, available_cores, idle_time_is_free, quota_cores, step_back


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V1 = "sys/fs/cgroup/cpu/"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"sys/fs/cgroup/cpu.max": "25000 100000\n"}, 1),
        ({"sys/fs/cgroup/cpu.max": "6400000 100000\n"}, 8),
        ({"sys/fs/cgroup/cpu.max": "nonsense\n"}, 8),
        ({V1 + "cpu.cfs_quota_us": "-1\n", V1 + "cpu.cfs_period_us": "100000\n"}, 8),
        ({V1 + "cpu.cfs_quota_us": "300000\n", V1 + "cpu.cfs_period_us": "100000\n"}, 3),
        ({V1 + "cpu.cfs_quota_us": "300000\n", V1 + "cpu.cfs_period_us": "0\n"}, 8),
        ({V1 + "cpu.cfs_quota_us": "300000\n"}, 8),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "300000 100000\n"}, 3),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
                "sys/fs/cgroup/a/cpu.max": "100000 50000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "3:cpuset:/x\n2:cpu,cpuacct:/pods/p1\n0::/\n",
                V1 + "pods/p1/cpu.cfs_quota_us": "400000\n",
                V1 + "pods/p1/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        ({"proc/self/cgroup": "0::/../not/mounted/here\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
    ],
)
def test_the_smaller_of_mask_and_quota(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert available_cores(machine(tmp_path, files)) == expected


def test_the_settings_count_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from service import settings

    monkeypatch.setattr(settings, "available_cores", lambda: 3)
    assert settings.LaneSettings().effective_count == 3


@pytest.mark.parametrize(("quota", "free"), [(None, True), ("max 100000", True), ("100000 100000", False)])
def test_idle_time_is_free_where_no_quota_is_smaller_than_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str | None, free: bool
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    if quota is not None:
        (group / "cpu.max").write_text(quota)
    assert idle_time_is_free(tmp_path) is free
    (group / "cpu.max").write_text("200000 100000")
    assert idle_time_is_free(tmp_path)


def test_this_machine_has_at_least_one() -> None:
    quota = quota_cores(Path("/"))
    assert available_cores() >= 1
    assert quota is None or quota > 0


def test_what_computes_steps_back_and_nobody_else() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    with ThreadPoolExecutor(1, initializer=step_back) as lane:
        assert lane.submit(niceness).result() == min(19, before + BEHIND_THE_LOOP)
    assert niceness() == before
