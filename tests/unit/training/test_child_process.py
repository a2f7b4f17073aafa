"""A training that is killed leaves no process that trains on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]
_PARENT = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from training.child_process import end_with_parent

def work(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent) as pool:
        pool.submit(work, sys.argv[1]).result()
"""


def test_a_pool_ends_with_the_process_that_made_it_even_by_a_kill(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(_PARENT)
    written = tmp_path / "pid"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py"), str(written)], env=environment)
    end = time.monotonic() + 60
    try:
        while not (written.exists() and written.read_text()):
            assert time.monotonic() < end
            time.sleep(0.05)
        worker = psutil.Process(int(written.read_text()))
        assert worker.is_running()
    finally:
        parent.kill()
        parent.wait()
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("package", ["training", "recipes", "model_export"])
def test_no_pool_is_made_without_it(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "ProcessPoolExecutor(" not in text or "end_with_parent" in text, path
