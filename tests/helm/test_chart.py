"""The chart as a whole: clean, valid against two versions of Kubernetes, refusing typos, its parts fitting together."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.helm.conftest import CASES, CHART, ROOT, Render, of_kind, pod_of, run

OLDEST, NEWEST = "1.27", "1.37"
NEEDS_NEWER = {"image-volume": "1.33", "log": "1.29"}
TEMPLATES = {path.name for path in (CHART / "templates").rglob("*.yaml")}
OWN_GROUPS = {"v1", "apps", "batch", "policy", "autoscaling", "networking.k8s.io"}


@pytest.mark.parametrize("case", CASES)
def test_lint_is_clean(helm: str, case: str) -> None:
    done = run(helm, "lint", "--strict", str(CHART), "-f", str(CHART / "ci" / f"{case}-values.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_manifests_are_valid(render: Render, case: str, version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is absent: the extra 'deploy'")
    version = NEEDS_NEWER.get(case, version) if version == OLDEST else version
    seen = 0
    for manifest in render(case, version=f"{version}.0"):
        if manifest["apiVersion"].partition("/")[0] in OWN_GROUPS:
            validate.validate(manifest, version, strict=True)
            seen += 1
    assert seen >= 5


def test_every_template_is_rendered_by_a_case(helm: str) -> None:
    rendered: set[str] = set()
    for case in CASES:
        done = run(helm, "template", "x", str(CHART), "-f", str(CHART / "ci" / f"{case}-values.yaml"))
        rendered |= {line.rpartition("/")[2] for line in done.stdout.splitlines() if line.startswith("# Source: ")}
    assert rendered == TEMPLATES


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--set", "replicaCuont=3"), "replicaCuont"),
        (("--set", "autoscaling.maxReplica=3"), "maxReplica"),
        (("--set", "config.decode.workrs=3"), "workrs"),
        (("--set", "config.port=1"), "port"),
        (("--set", "config.drain.max_seconds=1"), "max_seconds"),
        (("--set", "config.decode.workers=many"), "workers"),
        (("--set", "split.mode=both"), "mode"),
        (("--set", "lifecycle.graceMarginSeconds=1"), "graceMarginSeconds"),
        (("--set", "arms[0].bundel.claim=x"), "bundel"),
        (("--set-json", 'arms=[{"name":"Student","weight":1,"bundle":{"claim":"c"}}]'), "name"),
        (("--set-json", "arms=[]"), "arms"),
        (("--set-json", 'arms=[{"name":"a","weight":1,"bundle":{}}]'), "exactly one of"),
        (("--set-json", 'arms=[{"name":"a","weight":1,"bundle":{"claim":"c","source":"/x"}}]'), "exactly one of"),
        (("--set-json", 'arms=[{"name":"a","weight":1,"bundle":{"source":"/x"}}]'), "needs bundle.digest"),
        (("--set-json", 'arms=[{"name":"a","weight":0,"bundle":{"claim":"c"}}]'), "weight"),
        (
            (
                "--set-json",
                'arms=[{"name":"a","weight":1,"bundle":{"claim":"c"}},{"name":"a","weight":1,"bundle":{"claim":"d"}}]',
            ),
            "a is there twice",
        ),
        (("--set-json", 'arms=[{"name":"metrics","weight":1,"bundle":{"claim":"c"}}]'), "name"),
        (("--set", "armWeights.nobody=1"), "there is no arm nobody"),
        (("--set", "armWeights.baseline=0,armWeights.student=0"), "at least one weight"),
        (("--set", "split.mirror.arm=student"), "needs split.mode gateway"),
        (("--set", "split.mode=gateway,split.mirror.arm=nobody"), "there is no arm nobody"),
        (("--set", "split.mode=gateway,split.mirror.arm=student"), "needs route.kind"),
        (("--set", "split.mode=gateway,route.kind=ingress"), "cannot weigh arms"),
        (("--set", "route.kind=httproute"), "route.parentRefs"),
        (("--set", "route.kind=httproute,route.parentRefs[0].name=a,route.tlsSecretName=s"), "ends at its Gateway"),
        (("--set", "route.kind=ingress,route.tlsSecretName=s"), "name the certificate's hosts"),
        (("--set", "route.kind=istio,route.gateways[0]=g"), "route.hostnames"),
        (("--set", "route.kind=ingress,networkPolicy.enabled=true"), "networkPolicy.gatewayFrom"),
        (
            ("--set", "split.mode=gateway,route.kind=httproute,route.parentRefs[0].name=a,networkPolicy.enabled=true"),
            "networkPolicy.gatewayFrom",
        ),
        (("--set", "metricsPort=8000"), "metricsPort"),
        (("--set", "config.metrics_port=1"), "metrics_port"),
        (("--set", "gpu.enabled=true,image.tag=0.1.0"), "does not name the CUDA image"),
        (("--set", "image.tag=0.1.0-cuda"), "set gpu.enabled"),
        (("--set", "extraEnv[0].name=CPFD_DEADLINE__MAX_MS,extraEnv[0].value=300000"), "CPFD_DEADLINE__MAX_MS belongs"),
        (("--set", "extraEnv[0].name=cpfd_port,extraEnv[0].value=9000"), "cpfd_port belongs in config"),
        (("--set", "extraEnv[0].name=PORT,extraEnv[0].value=9000"), "PORT belongs in config"),
        (("--set", "volumes.spool.sizeLimit=100Mi"), "less than the service lets in ("),
        (
            ("--set", "volumes.spool.sizeLimit=1Gi,config.admission.max_bytes=1073741825"),
            "less than the service lets in",
        ),
        (("--set", "resources.requests.cpu=64"), "too little for the workers and lanes"),
        (("--set", "volumes.spool.medium=Memory,resources.limits.memory=1Gi"), "too little for the workers"),
        (("--set", "resources.limits.cpu=4Gi"), "/resources/limits/cpu"),
        (("--set", "resources.limits.memory=512m"), "/resources/limits/memory"),
        (("--set", "resources.limit.memory=4Gi"), "limit"),
        (("--set", r"commonLabels.app\.kubernetes\.io/name=x"), "commonLabels: app.kubernetes.io/name is a label"),
        (("--set", r"podLabels.app\.kubernetes\.io/component=x"), "podLabels: app.kubernetes.io/component is a label"),
        (("--set", "podLabels.cpfd/serves=no"), "podLabels: cpfd/serves is a label"),
        (("--set", "commonLabels.level=3"), "/commonLabels/level"),
        (("--set", "commonLabels.team=a,podLabels.team=b"), "podLabels: team is in commonLabels already"),
        (("--set", "autoscaling.minReplicas=20"), "minReplicas"),
        (("--set", "loadtest.wokers=2"), "wokers"),
        (("--set", "loadtest.workers=21"), "workers"),
        (("--set", "loadtest.rate=0"), "rate"),
        (("--set", "loadtest.objectives.limits.p59_ms=1"), "p59_ms"),
        (("--set", "loadtest.target=cpfd"), "target"),
        (("--set", "loadtest.enabled=true,loadtest.shape=ramp-arm"), "needs loadtest.arm"),
        (("--set", "loadtest.enabled=true,loadtest.arm=student"), "needs loadtest.arm"),
        (("--set", "loadtest.enabled=true,loadtest.shape=ramp-arm,loadtest.arm=nobody"), "there is no arm nobody"),
        (("--set", "loadtest.objectives.arms.nobody.p50_ms=1"), "there is no arm nobody"),
        (("--set", "monitoring.rules.enabled=true,monitoring.rules.disabled={CpfdNone}"), "there is no alert CpfdNone"),
        (("-f", str(CHART / "ci" / "image-volume-values.yaml"), "--kube-version", "1.32.0"), "Kubernetes 1.33"),
    ],
)
def test_a_wrong_value_is_refused(refusal: Callable[..., str], arguments: tuple[str, ...], says: str) -> None:
    assert says in refusal(*arguments)


@pytest.mark.parametrize("case", CASES)
def test_selectors_find_the_pods_they_are_for(render: Render, case: str) -> None:
    manifests = render(case)
    pods = [d["spec"]["template"]["metadata"]["labels"] for d in of_kind(manifests, "Deployment")]
    for deployment, labels in zip(of_kind(manifests, "Deployment"), pods, strict=True):
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
        others = [other for other in pods if other is not labels]
        assert not any(deployment["spec"]["selector"]["matchLabels"].items() <= other.items() for other in others)
        for constraint in pod_of(deployment)["topologySpreadConstraints"]:
            assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()
    for service in of_kind(manifests, "Service"):
        if service["metadata"]["name"].endswith("-loadtest"):
            continue  # selects the pod of a Job: test_loadtest.py
        found = [labels for labels in pods if service["spec"]["selector"].items() <= labels.items()]
        assert len(found) == (len(pods) if service["metadata"]["name"] in ("mod-cpfd", "mod-cpfd-metrics") else 1)
    test = next(p for p in of_kind(manifests, "Pod"))["metadata"]["labels"]
    assert not any(s["spec"]["selector"].items() <= test.items() for s in of_kind(manifests, "Service"))


@pytest.mark.parametrize("case", CASES)
def test_every_resource_is_named_and_labelled_once(render: Render, case: str) -> None:
    manifests = [m for m in render(case) if not m["metadata"]["name"].startswith("extra-map")]
    names = [(m["kind"], m["metadata"]["name"]) for m in manifests]
    assert len(names) == len(set(names))
    for manifest in manifests:
        if not manifest["metadata"]["name"].endswith("extra-text"):
            assert manifest["metadata"]["labels"]["app.kubernetes.io/instance"] == "mod"


@pytest.mark.parametrize("case", CASES)
def test_mounts_have_their_volumes(render: Render, case: str) -> None:
    manifests = render(case)
    workloads = of_kind(manifests, "Deployment") + of_kind(manifests, "Job")
    for spec in [pod_of(w) for w in workloads] + [p["spec"] for p in of_kind(manifests, "Pod")]:
        volumes = {volume["name"] for volume in spec["volumes"]}
        for container in spec["containers"] + spec.get("initContainers", []):
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes


@pytest.mark.parametrize("case", ["gateway", "loadtest"])
def test_a_long_release_name_stays_within_the_limit(render: Render, case: str) -> None:
    for manifest in render(case, release="a" * 53):
        assert len(manifest["metadata"]["name"]) <= 63


def test_readme_schema_and_dashboards_are_current() -> None:
    script = str(ROOT / "helm" / "generate.py")
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr + "run: python helm/generate.py"


def test_every_value_is_described() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def bare(node: dict[str, object], path: str) -> list[str]:
        properties = node.get("properties")
        if "description" in node or not isinstance(properties, dict):
            return [] if "description" in node else [path]
        return [found for name, inner in properties.items() for found in bare(inner, f"{path}.{name}")]

    assert [name for key, node in schema["properties"].items() for name in bare(node, key)] == []


def test_the_chart_names_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert chart["apiVersion"] == "v2"
    assert f'version = "{chart["appVersion"]}"' in pyproject


def test_the_package_holds_what_templates_read(helm: str, tmp_path: Path) -> None:
    assert run(helm, "package", str(CHART), "-d", str(tmp_path)).returncode == 0
    (package,) = tmp_path.glob("*.tgz")
    done = run(helm, "template", "x", str(package), "-f", str(CHART / "ci" / "monitoring-values.yaml"))
    assert "CpfdScoreDrift" in done.stdout
    assert "cpfd-cost" in done.stdout
