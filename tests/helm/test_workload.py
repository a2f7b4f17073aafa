"""deployment.yaml, configmap.yaml: the pods, their settings and their end."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from service.settings import read_settings
from tests.helm.conftest import CASES, CHART, Render, container_of, named, of_kind, only, pod_of, run

CONFIG = ("ConfigMap", "mod-cpfd")


@pytest.mark.parametrize("case", CASES)
def test_the_service_takes_its_settings(
    render: Render, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for deployment in of_kind(render(case), "Deployment"):
        name = deployment["metadata"]["name"]
        (tmp_path / "serve.yaml").write_text(named(render(case), "ConfigMap", name)["data"]["serve.yaml"])
        for variable in ("PORT", "HOST"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("CPFD_CONFIG", str(tmp_path / "serve.yaml"))
        settings = read_settings()
        container = container_of(deployment)
        assert (settings.host, settings.port) == ("0.0.0.0", container["ports"][0]["containerPort"])
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert str(settings.body.spool_directory) in mounts
        for arm in settings.arms:
            assert any(str(arm.bundle).startswith(f"{mount}/") or str(arm.bundle) == mount for mount in mounts)


@pytest.mark.parametrize(("case", "longest"), [("default", 60), ("podmonitor", 120)])
def test_grace_is_pre_stop_plus_longest_deadline_plus_margin(render: Render, case: str, longest: int) -> None:
    deployment = only(render(case), "Deployment")
    drain = yaml.safe_load(named(render(case), "ConfigMap", "mod-cpfd")["data"]["serve.yaml"])["drain"]
    assert pod_of(deployment)["terminationGracePeriodSeconds"] == 5 + longest + 15
    assert longest < drain["max_seconds"]
    # uvicorn waits up to 5 s more for connections: that too must fit.
    assert 5 + drain["max_seconds"] + 5 < pod_of(deployment)["terminationGracePeriodSeconds"]


@pytest.mark.parametrize(
    ("version", "pre_stop"),
    [("1.29.0", {"exec": {"command": ["sleep", "5"]}}), ("1.30.0", {"sleep": {"seconds": 5}})],
)
def test_pre_stop_sleeps_natively_where_kubernetes_can(render: Render, version: str, pre_stop: object) -> None:
    container = container_of(only(render("default", version=version), "Deployment"))
    assert container["lifecycle"]["preStop"] == pre_stop


def test_probes_ask_what_they_are_for(render: Render) -> None:
    container = container_of(only(render("default"), "Deployment"))
    paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/readyz", "liveness": "/livez", "readiness": "/readyz"}
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 120


@pytest.mark.parametrize("case", CASES)
def test_pods_are_confined(render: Render, case: str) -> None:
    for deployment in of_kind(render(case), "Deployment"):
        spec = pod_of(deployment)
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        own = [c for c in spec["containers"] + spec.get("initContainers", []) if c["image"].startswith("cpfd")]
        for container in own:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_workers_and_lanes_follow_the_cpu_of_the_container(render: Render) -> None:
    def settings(*arguments: str) -> dict[str, dict[str, int]]:
        manifest = named(render("default", *arguments), "ConfigMap", "mod-cpfd")
        loaded = yaml.safe_load(manifest["data"]["serve.yaml"])
        return {section: loaded[section] for section in ("decode", "lanes")}

    assert settings() == {"decode": {"workers": 2}, "lanes": {"count": 2}}
    assert settings("--set", "resources.limits.cpu=2500m") == {"decode": {"workers": 3}, "lanes": {"count": 3}}
    assert settings("--set", "config.decode.workers=7")["decode"] == {"workers": 7}


def test_more_cores_than_the_service_takes_lanes_for_are_no_fault(
    render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = named(render("default", "--set", "resources.requests.cpu=96,resources.limits.memory=64Gi"), *CONFIG)
    (tmp_path / "serve.yaml").write_text(manifest["data"]["serve.yaml"])
    monkeypatch.setenv("CPFD_CONFIG", str(tmp_path / "serve.yaml"))
    settings = read_settings()
    assert (settings.decode.workers, settings.lanes.count) == (96, 64)


def test_a_new_chart_alone_restarts_no_pod(helm: str, render: Render, tmp_path: Path) -> None:
    def template(chart: Path) -> object:
        done = run(helm, "template", "mod", str(chart), "-n", "ns", "--set", "loadtest.enabled=true")
        manifests = [m for m in yaml.safe_load_all(done.stdout) if m]
        found = of_kind(manifests, "Deployment") + of_kind(manifests, "Job")
        return [(m["metadata"]["name"], m["spec"]["template"]) for m in found]

    shutil.copytree(CHART, tmp_path / "cpfd")
    chart = tmp_path / "cpfd" / "Chart.yaml"
    chart.write_text(chart.read_text().replace("version: 0.1.0", "version: 9.9.9", 1))
    assert "version: 9.9.9" in chart.read_text()
    assert template(tmp_path / "cpfd") == template(CHART)


@pytest.mark.parametrize(
    ("case", "arguments", "on_disk"),
    [
        ("default", (), {"spool", "tmp"}),
        ("fetch", (), {"spool", "tmp", "fetched"}),
        ("gpu", (), {"spool", "tmp"}),
        ("default", ("--set", "volumes.spool.medium=Memory"), {"tmp"}),
        ("default", ("--set", "volumes.spool.sizeLimit=2Gi"), {"spool", "tmp"}),
    ],
)
def test_the_disk_that_volumes_may_fill_is_asked_for(
    render: Render, case: str, arguments: tuple[str, ...], on_disk: set[str]
) -> None:
    deployment = only(render(case, *arguments), "Deployment")
    limits = {v["name"]: v["emptyDir"]["sizeLimit"] for v in pod_of(deployment)["volumes"] if "emptyDir" in v}
    units = {"Mi": 1, "Gi": 1024}
    mebibytes = sum(int(limits[name][:-2]) * units[limits[name][-2:]] for name in on_disk)
    requests = container_of(deployment)["resources"]["requests"]
    assert requests["ephemeral-storage"] == f"{mebibytes}Mi"
    assert requests["cpu"] == "2"


def test_disk_asked_for_by_hand_stays(render: Render) -> None:
    deployment = only(render("default", "--set", "resources.requests.ephemeral-storage=5Gi"), "Deployment")
    assert container_of(deployment)["resources"]["requests"]["ephemeral-storage"] == "5Gi"


def test_a_change_of_settings_rolls_the_pods(render: Render) -> None:
    def checksum(*arguments: str) -> str:
        deployment = only(render("default", *arguments), "Deployment")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    assert checksum() == checksum("--set", "replicaCount=5")
    assert checksum() != checksum("--set", "config.log_level=debug")


def test_fetched_bundles_are_verified_by_init_containers_with_the_keys(render: Render) -> None:
    spec = pod_of(only(render("fetch"), "Deployment"))
    assert [c["name"] for c in spec["initContainers"]] == ["bundle-baseline", "bundle-student"]
    for container, digest in zip(spec["initContainers"], "ab", strict=True):
        assert f"--digest={digest * 64}" in container["args"]
        assert container["envFrom"] == [{"secretRef": {"name": "mod-cpfd-credentials"}}]
        assert {"name": "fetched", "mountPath": "/fetched", "readOnly": False} in container["volumeMounts"]
    service = container_of(only(render("fetch"), "Deployment"))
    assert "envFrom" not in service
    assert {"name": "fetched", "mountPath": "/fetched", "readOnly": True} in service["volumeMounts"]


def test_a_bundle_in_an_image_is_mounted_and_verified_in_place(render: Render) -> None:
    spec = pod_of(only(render("image-volume"), "Deployment"))
    volume = next(v for v in spec["volumes"] if v["name"] == "bundle-student")
    assert volume["image"]["reference"] == "registry.example/bundles/cpfd-student:0.1.0"
    (container,) = spec["initContainers"]
    assert "--into=/bundles/student/cpfd-student" in container["args"]
    assert not [a for a in container["args"] if a.startswith("--source")]


def test_mode_gateway_has_a_deployment_with_one_arm_for_each(render: Render) -> None:
    names = [d["metadata"]["name"] for d in of_kind(render("gateway"), "Deployment")]
    assert set(names) == {"mod-cpfd-baseline", "mod-cpfd-student", "mod-cpfd-shadow"}
    for name in names:
        loaded = yaml.safe_load(named(render("gateway"), "ConfigMap", name)["data"]["serve.yaml"])
        (arm,) = loaded["arms"]
        assert (f"mod-cpfd-{arm['name']}", arm["weight"]) == (name, 1)


def test_a_gpu_is_asked_for_and_used(render: Render) -> None:
    deployment = only(render("gpu"), "Deployment")
    assert container_of(deployment)["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod_of(deployment)["runtimeClassName"] == "nvidia"
    assert container_of(deployment)["image"] == "cpfd:0.1.0-cuda"
    assert {"name": "shared-memory", "mountPath": "/dev/shm"} in container_of(deployment)["volumeMounts"]
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    loaded = yaml.safe_load(named(render("gpu"), *CONFIG)["data"]["serve.yaml"])
    assert loaded["lanes"] == {"provider": "cuda", "buckets": [1, 4, 16]}


def test_extras_arrive(render: Render) -> None:
    manifests = render("extras")
    deployment = only(manifests, "Deployment")
    spec, container = pod_of(deployment), container_of(deployment)
    assert container["image"] == "cpfd@sha256:" + "c" * 64
    assert {"name": "TZ", "value": "UTC"} in container["env"]
    assert {"name": "extra", "mountPath": "/extra"} in container["volumeMounts"]
    assert [c["name"] for c in spec["containers"]] == ["cpfd", "proxy"]
    assert [c["name"] for c in spec["initContainers"]] == ["wait"]
    assert spec["serviceAccountName"] == "existing"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert deployment["metadata"]["labels"]["team"] == "safety"
    assert named(manifests, "ConfigMap", "extra-map")["data"] == {"release": "mod"}
    assert named(manifests, "ConfigMap", "mod-cpfd-extra-text")


def test_faults_are_for_the_named_arm_only(render: Render) -> None:
    student = container_of(named(render("faults"), "Deployment", "mod-cpfd-student"))
    assert student["command"] == ["timeout", "--signal=KILL", "600", "python", "-m", "service"]
    assert student["resources"]["limits"]["cpu"] == student["resources"]["requests"]["cpu"] == "250m"
    assert student["readinessProbe"]["exec"]["command"] == ["false"]
    assert container_of(named(render("faults"), "Deployment", "mod-cpfd-baseline")) == container_of(
        named(render("keda-gateway"), "Deployment", "mod-cpfd-baseline")
    )


def test_replicas_are_left_to_the_autoscaler(render: Render) -> None:
    assert only(render("default"), "Deployment")["spec"]["replicas"] == 2
    assert "replicas" not in only(render("hpa"), "Deployment")["spec"]
    assert "replicas" not in only(render("httproute"), "Deployment")["spec"]
