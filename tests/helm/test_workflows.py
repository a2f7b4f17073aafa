"""The workflows: they run nobody else's code that may change under them, and what they name exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.conftest import CHART, ROOT, named, of_kind, run

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))


def steps(path: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_a_commit(path: Path) -> None:
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used
    assert [action for action in used if not re.search(r"@[0-9a-f]{40}$", action)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_scripts_name_files_and_targets_that_are_there(path: Path) -> None:
    script = "\n".join(step["run"] for step in steps(path) if "run" in step)
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    assert {name for name in re.findall(r"\bmake ([a-z-]+)", script)} <= targets
    files = re.findall(r"(?<![\w/.])((?:\.github|helm|configs|bundles)/[\w./-]+\w)", script)
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_the_cluster_finds_its_bundles(helm: str) -> None:
    values = ROOT / ".github" / "kind-values.yaml"
    done = run(helm, "template", "cpfd", str(CHART), "-f", str(values))
    assert done.returncode == 0, done.stderr
    (deployment,) = of_kind([m for m in yaml.safe_load_all(done.stdout) if m], "Deployment")
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    claims = {v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v}
    manifests = list(yaml.safe_load_all((ROOT / ".github" / "kind-bundles.yaml").read_text()))
    assert claims == {"cpfd-bundles"}
    claim = named(manifests, "PersistentVolumeClaim", "cpfd-bundles")
    assert claim["spec"]["volumeName"] == named(manifests, "PersistentVolume", "cpfd-bundles")["metadata"]["name"]
    arms = yaml.safe_load((CHART / "values.yaml").read_text())["arms"]
    assert all((ROOT / "bundles" / arm["bundle"]["path"] / "bundle.json").is_file() for arm in arms)
