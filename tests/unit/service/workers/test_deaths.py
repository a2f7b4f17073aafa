"""Who is to blame for a worker's death, and how long to wait before the next start."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from service.workers.backoff import delay_s
from service.workers.deaths import Blame, blame_for, cpu_seconds, memory_kills, runnable


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGXCPU", "SIGSYS"])
def test_a_decoder_raises_these_by_itself(name: str) -> None:
    assert blame_for(-signal.Signals[name], memory_ran_out=False) is Blame.OWN


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"])
def test_these_come_from_outside(name: str) -> None:
    assert blame_for(-signal.Signals[name], memory_ran_out=False) is Blame.OUTSIDE


def test_an_exit_or_nonsense_is_its_own_doing() -> None:
    for code in (0, 1, None):
        assert blame_for(code, memory_ran_out=False) is Blame.OWN


def test_who_took_all_memory_is_killed_for_his_own_doing() -> None:
    assert blame_for(-signal.SIGKILL, memory_ran_out=True) is Blame.OWN
    assert blame_for(-signal.SIGTERM, memory_ran_out=True) is Blame.OUTSIDE


def test_the_kernels_count_of_memory_kills_is_read(tmp_path: Path) -> None:
    assert memory_kills(tmp_path) == 0
    events = tmp_path / "sys/fs/cgroup/memory.events"
    events.parent.mkdir(parents=True)
    events.write_text("low 0\nhigh 3\noom 7\noom_kill 5\noom_group_kill 2\n")
    assert memory_kills(tmp_path) == 5
    events.write_text("oom_kill\n")
    assert memory_kills(tmp_path) == 0


def test_a_process_is_seen_at_work_asleep_or_gone(tmp_path: Path) -> None:
    stat = tmp_path / "proc/7/stat"
    stat.parent.mkdir(parents=True)
    for state, expected in (("R", True), ("S", False), ("T", False)):
        stat.write_text(f"7 (a b) c) {state} 1 2 3 4 5 6 7 8 9 10 150 50 0\n")
        assert runnable(7, tmp_path) is expected
    assert cpu_seconds(7, tmp_path) == pytest.approx(2.0, rel=0.01)
    assert not runnable(8, tmp_path)
    assert cpu_seconds(8, tmp_path) == 0


def test_waits_double_up_to_a_bound_and_are_spread() -> None:
    rng = random.Random(0)
    for failures in range(1, 60):
        full = min(30.0, 0.1 * 2 ** (failures - 1))
        assert full / 2 <= delay_s(failures, rng) <= full
    assert len({delay_s(50, rng) for _ in range(10)}) > 5
