"""Whole runs: Locust in its own process against a real service, or a stub whose arms can be slowed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from loadtest.traffic.corpus import Recipe, build_corpus
from tests.free_port import free_port
from tests.integration.service.conftest import ROOT, Running, environment, launch, wait_until_ready
from tests.stub_service import stub_service
from tests.synthetic_bundle import write_synthetic_bundle

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("locust") is None, reason="Locust is not installed: pip install 'cpfd[loadtest]'"
)
PATIENT = """
min_requests: 5
within_ms: 20000
limits: {error_rate: 0.0, shed_rate: 0.0, goodput_share: 1.0}
arms: {baseline: {}, student: {}}
generator: {max_lag_p95_ms: 5000, max_late_p99_ms: 5000, max_cpu_share: 1.0}
"""
# The stub reads no clips, so none of them is hostile to it.
STUB = ("--mix", "hostile=0")
STRICT = PATIENT + "max_arm_ratio: 3\n"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = Recipe(sizes=((96, 64),), seconds=(0.4,))
    return build_corpus(tmp_path_factory.mktemp("corpus") / "tiny", recipe)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    for seed, name in enumerate(("baseline", "student")):
        write_synthetic_bundle(folder / name, name=f"synthetic-{name}", seed=seed)
    return folder


@pytest.fixture
def two_services(tmp_path: Path, bundles: Path) -> Iterator[list[Running]]:
    logs = [tmp_path / f"service{i}.log" for i in range(2)]
    processes = [launch(log, environment(bundles, CPFD_DECODE__WORKERS="1")) for log in logs]
    try:
        yield [wait_until_ready(process, log) for process, log in zip(processes, logs, strict=True)]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def arguments(tmp_path: Path, corpus: Path, asked: str, *more: str) -> list[str]:
    """Of a run that writes into ``tmp_path/out``."""
    (tmp_path / "objectives.yaml").write_text(asked)
    files = ["--corpus", str(corpus), "--objectives", str(tmp_path / "objectives.yaml"), "--out", str(tmp_path / "out")]
    return [sys.executable, "-m", "loadtest", *more, *files, "--seed", "1"]


def run(command: list[str], environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)


def read(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "out" / "results.json").read_text())
    return document


def total(document: dict[str, Any], name: str) -> int:
    return sum(stage["overall"][name] for stage in document["stages"])


def test_a_service_that_it_starts_meets_patient_objectives(tmp_path: Path, corpus: Path, bundles: Path) -> None:
    command = arguments(tmp_path, corpus, PATIENT, "demo", "--shape", "steps", "--rate", "12", "--seconds", "5")
    ran = run(command, environment(bundles))
    assert ran.returncode == 0, ran.stderr
    found = read(tmp_path)
    assert set(found["judged"]["arms"]) == {"baseline", "student"}
    assert total(found, "answered") >= 25
    assert (total(found, "failed"), total(found, "shed")) == (0, 0)
    assert max([found["capacity_per_s"], *found["capacity_undecided_per_s"]]) == 18
    assert '"message": "draining"' in (tmp_path / "out" / "service.log").read_text()
    assert json.loads(ran.stdout)["outcome"] == "passed"


def test_a_slowed_arm_fails_the_test_by_name(tmp_path: Path, corpus: Path) -> None:
    with stub_service(delay_s={"baseline": 0.02, "student": 0.6}) as stub:
        command = arguments(tmp_path, corpus, STRICT, "run", "--shape", "soak", "--rate", "40", "--seconds", "3")
        ran = run([*command, "--host", stub.url, *STUB])
    assert ran.returncode == 1, ran.stderr
    assert [line.partition(":")[0] for line in json.loads(ran.stdout)["failed"]] == ["arm student"]
    cases = ElementTree.parse(tmp_path / "out" / "junit.xml").getroot()[0]
    assert [c.get("classname") for c in cases if c.find("failure") is not None] == ["arm.student"]
    assert "DOES NOT HOLD: arm student: arm_ratio" in ran.stderr


def check_extension(tmp_path: Path, command: list[str], processes: int) -> None:
    """Of a run whose stages are far too short: some are extended, in all processes, at the rates of the plan."""
    ran = run(command)
    assert ran.returncode == 0, ran.stderr
    found, record = read(tmp_path), json.loads((tmp_path / "out" / "record.json").read_text())
    assert (record["processes"], bool(record["extended_s"])) == (processes, True)
    planned = json.loads((tmp_path / "out" / "run.json").read_text())["plan"]["stages"]
    longer = [stage["stage"]["seconds"] - p["seconds"] for stage, p in zip(found["stages"], planned, strict=True)]
    assert {index: s for index, s in enumerate(longer) if s > 1e-6} == pytest.approx(
        {int(index): s for index, s in record["extended_s"].items()}
    )
    assert sum(longer) <= sum(p["seconds"] for p in planned) + 1e-6
    for index, stage in enumerate(found["stages"]):
        begins_s, seconds = stage["begins_s"], stage["stage"]["seconds"]
        due = [sample[0] for sample in record["samples"] if sample[1] == index]
        assert all(begins_s <= at_s < begins_s + seconds for at_s in due)
        expected = seconds * stage["stage"]["per_s"]
        assert expected - 5 * expected**0.5 < len(due) < expected + 5 * expected**0.5


def test_a_stage_is_extended_while_its_queue_is_not_decided(tmp_path: Path, corpus: Path) -> None:
    with stub_service(delay_s={"baseline": 0.3, "student": 0.3}) as stub:
        command = arguments(tmp_path, corpus, PATIENT, "run", "--shape", "steps", "--rate", "40", "--seconds", "4")
        check_extension(tmp_path, [*command, "--host", stub.url, *STUB], 1)


def test_all_workers_extend_a_stage_together(tmp_path: Path, corpus: Path) -> None:
    with stub_service(delay_s={"baseline": 0.3, "student": 0.3}) as stub:
        common = ["run", "--shape", "steps", "--rate", "40", "--seconds", "4", "--host", stub.url, *STUB]
        common += ["--master-port", str(free_port())]
        workers = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            worker = arguments(tmp_path / name, corpus, PATIENT, *common, "--worker")
            workers.append(subprocess.Popen(worker, cwd=ROOT))
        check_extension(tmp_path, arguments(tmp_path, corpus, PATIENT, *common, "--master", "--expect-workers", "2"), 2)
        assert [worker.wait(30) for worker in workers] == [0, 0]


def test_a_plan_can_steer_an_arms_share(tmp_path: Path, corpus: Path) -> None:
    with stub_service() as stub:
        command = arguments(tmp_path, corpus, PATIENT, "run", "--shape", "ramp-arm", "--arm", "student")
        ran = run([*command, "--host", stub.url, "--rate", "120", "--seconds", "5", *STUB])
    assert ran.returncode == 0, ran.stderr
    shares = [stage["arms"]["student"]["answered"] / stage["overall"]["answered"] for stage in read(tmp_path)["stages"]]
    assert shares == sorted(shares)
    assert shares[0] < 0.3
    assert shares[-1] == 1.0


def test_sigterm_under_load_loses_no_request(tmp_path: Path, corpus: Path, two_services: list[Running]) -> None:
    """Two services behind what a load balancer does; one is told to stop midway."""
    first, second = two_services
    command = arguments(tmp_path, corpus, PATIENT, "run", "--shape", "soak", "--rate", "24", "--seconds", "6")
    stopped: list[int] = []

    def stop_midway() -> None:
        while sum(line.get("code") == "ok" for line in first.lines()) < 15:
            time.sleep(0.05)
        stopped.append(first.stop())

    stopper = threading.Thread(target=stop_midway)
    stopper.start()
    ran = run([*command, "--host", first.url, "--host", second.url])
    stopper.join()
    assert ran.returncode == 0, ran.stderr
    found = read(tmp_path)
    assert stopped == [0]
    assert (total(found, "failed"), total(found, "shed")) == (0, 0)
    assert total(found, "retried") >= 1
    assert total(found, "answered") >= 40
    assert sum(line.get("code") == "ok" for line in first.lines()) >= 15
    assert any(line["message"] == "draining" for line in first.lines())


def test_a_master_gathers_from_its_workers(tmp_path: Path, corpus: Path) -> None:
    with stub_service() as stub:
        port = str(free_port())
        common = ["run", "--shape", "soak", "--rate", "60", "--seconds", "4", "--host", stub.url, *STUB]
        common += ["--master-port", port]
        workers = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            command = arguments(tmp_path / name, corpus, PATIENT, *common, "--worker")
            workers.append(subprocess.Popen(command, cwd=ROOT))
        ran = run(arguments(tmp_path, corpus, PATIENT, *common, "--master", "--expect-workers", "2"))
        assert [worker.wait(30) for worker in workers] == [0, 0]
    assert ran.returncode == 0, ran.stderr
    found = read(tmp_path)
    assert found["about"]["generator processes"] == "2"
    assert 120 - 45 < total(found, "requests") + total(found, "gone") < 120 + 45


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--host", "http://service.example:8000"], "--allow-remote"),
        (["--host", "http://127.0.0.1:1", "--rate", "auto", "--master"], "--rate"),
        (["--host", "http://127.0.0.1:1", "--rate", "many"], "many"),
        (["--host", "http://127.0.0.1:1", "--rate", "1", "--seconds", "1e9"], "seconds"),
    ],
)
def test_bad_usage_is_exit_2(tmp_path: Path, corpus: Path, more: list[str], said: str) -> None:
    ran = run([*arguments(tmp_path, corpus, PATIENT, "run"), *more])
    assert (ran.returncode, said in ran.stderr) == (2, True), ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_service_that_does_not_start_is_told_in_its_own_words(tmp_path: Path, corpus: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CPFD_")}
    ran = run(arguments(tmp_path, corpus, PATIENT, "demo"), environ | {"CPFD_LOG_LEVEL": "info", "CPFD_TYPO": "1"})
    assert ran.returncode == 1
    assert "CPFD_TYPO is not a setting" in ran.stderr


def test_a_run_that_is_told_to_stop_still_judges_what_it_has(tmp_path: Path, corpus: Path) -> None:
    with stub_service() as stub:
        command = arguments(tmp_path, corpus, PATIENT, "run", "--shape", "soak", "--rate", "60", "--seconds", "60")
        process = subprocess.Popen([*command, "--host", stub.url, *STUB], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        while len(stub.bodies) < 40:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    (failed,) = json.loads(told)["failed"]
    assert "planned_seconds" in failed
    assert total(read(tmp_path), "answered") >= 20
