"""The Dockerfile: clean, buildable by old builders, and holding nothing but what serves."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helm.conftest import ROOT, run

DOCKERFILE = ROOT / "Dockerfile"
INSTRUCTIONS = DOCKERFILE.read_text().replace("\\\n", " ").splitlines()


def copied() -> set[str]:
    """What it copies out of the checkout."""
    lines = [line.split()[1:-1] for line in INSTRUCTIONS if line.startswith("COPY ") and "--from" not in line]
    return {name for line in lines for name in line}


def test_hadolint_is_content() -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is absent: the extra 'deploy'")
    done = run(hadolint, str(DOCKERFILE))
    assert done.returncode == 0, done.stdout


def test_it_takes_what_serves_and_nothing_else() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied() == allowed
    assert all((ROOT / name).exists() for name in allowed)
    assert not [name for name in allowed if re.match("training|model_export|bundles|tests", name)]


def test_old_builders_can_build_it() -> None:
    assert not [line for line in INSTRUCTIONS if "--link" in line or "<<" in line]


def test_the_default_target_is_the_last() -> None:
    stages = re.findall(r"(?m)^FROM \S+ AS (\S+)$", DOCKERFILE.read_text())
    assert stages[-1] == "cpu"
    assert "cuda" in stages


def test_it_runs_as_a_number_and_hands_signals_to_python() -> None:
    users = [line for line in INSTRUCTIONS if line.startswith("USER ")]
    assert len(users) == 2
    assert all(re.fullmatch(r"USER [1-9]\d+:[1-9]\d+", user) for user in users)
    entries = [line for line in INSTRUCTIONS if line.startswith("ENTRYPOINT ")]
    assert entries == [f'ENTRYPOINT ["python", "-m", "{package}"]' for package in ("loadtest", "service")]


def test_the_load_test_and_the_service_are_not_in_one_image() -> None:
    stages = re.split(r"(?m)^FROM ", DOCKERFILE.read_text())[1:]
    by_name = {stage.splitlines()[0].split(" AS ")[1]: stage for stage in stages}
    assert "COPY loadtest loadtest" in by_name["build-loadtest"]
    assert "COPY service service" not in by_name["build-loadtest"]
    for name in ("build-cpu", "build-cuda", "runtime", "cpu", "cuda"):
        assert "loadtest" not in by_name[name]


def test_no_image_keeps_the_pip_of_its_base() -> None:
    stages = re.split(r"(?m)^FROM ", DOCKERFILE.read_text())[1:]
    final = {stage.split()[2]: stage for stage in stages if "USER " in stage}
    assert set(final) == {"loadtest", "runtime"}
    for stage in final.values():
        before_user = stage.partition("USER ")[0]
        assert "rm -rf /usr/local/bin/pip* /usr/local/bin/wheel /usr/local/lib/python3*/site-packages/*" in before_user


def test_a_scrape_is_not_half_of_creation_times() -> None:
    (variable,) = re.findall(r"PROMETHEUS_DISABLE_CREATED_SERIES=\w+", DOCKERFILE.read_text())
    name, _, value = variable.partition("=")
    code = """
from service.metrics import Metrics
metrics = Metrics()
metrics.shed.labels("requests").inc()
print(metrics.exposition().decode())
"""

    def scrape(**more: str) -> str:
        environment = {"PYTHONPATH": str(ROOT)} | more
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=240
        )
        return done.stdout

    assert "cpfd_shed_created" in scrape()
    assert "_created" not in scrape(**{name: value})
    assert "cpfd_shed_total" in scrape(**{name: value})


@pytest.mark.parametrize("name", ["constraints-gpu.txt", "requirements-s3.txt"])
def test_versions_agree_with_the_constraints(name: str) -> None:
    def pins(path: Path) -> dict[str, str]:
        return dict(line.split("==") for line in path.read_text().splitlines() if "==" in line and line[0] != "#")

    common, own = pins(ROOT / "constraints.txt"), pins(ROOT / name)
    assert own
    # botocore wants an older one than the training side has, which is not in the image.
    differing = {package for package in common.keys() & own.keys() if common[package] != own[package]}
    assert differing <= {"python-dateutil"}
