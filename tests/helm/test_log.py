"""The decision log: its volume, whoever tends it, and what may not be asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from service.experiment.log.__main__ import _parser
from tests.helm.conftest import Manifest, Render, container_of, named, of_kind, only, pod_of

CLAIM = ("--set", "log.enabled=true,log.claim=shared")


def settings_of(manifests: list[Manifest]) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(named(manifests, "ConfigMap", "mod-cpfd")["data"]["serve.yaml"])
    return loaded


def test_without_it_nothing_is_there(render: Render) -> None:
    deployment = only(render("default"), "Deployment")
    assert "log" not in [volume["name"] for volume in pod_of(deployment)["volumes"]]
    assert "log" not in settings_of(render("default"))
    assert not of_kind(render("default"), "CronJob")
    assert "initContainers" not in pod_of(deployment)


def test_a_pods_own_volume_is_tended_by_a_side_car_that_outlives_the_service(render: Render) -> None:
    manifests = render("log")
    spec = pod_of(only(manifests, "Deployment"))
    (side_car,) = spec["initContainers"]
    assert side_car["restartPolicy"] == "Always"  # what makes it a side-car: it ends after the service
    assert side_car["command"] == ["python", "-m", "service.experiment.log"]
    options = _parser().parse_args(side_car["args"])
    assert (str(options.directory), options.to, options.keep_days, options.every) == ("/log", "s3://audit/cpfd", 7, 60)
    assert side_car["envFrom"] == [{"secretRef": {"name": "audit-keys"}}]
    service = container_of(only(manifests, "Deployment"))
    assert "envFrom" not in service
    for container in (side_car, service):
        assert {"name": "log", "mountPath": "/log"} in container["volumeMounts"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "log"]
    assert volume == {"name": "log", "emptyDir": {"sizeLimit": "4Gi"}}
    assert not of_kind(manifests, "CronJob")


def test_it_counts_as_full_before_the_kubelet_evicts_the_pod(render: Render) -> None:
    log = settings_of(render("log"))["log"]
    assert (log["directory"], log["on_failure"]) == ("/log", "count")
    assert log["max_bytes"] + 2 * 64 * 1024**2 < 4 * 1024**3  # a file that was begun may still grow
    assert settings_of(render("log", "--set", "config.log.max_bytes=1000000000"))["log"]["max_bytes"] == 10**9
    assert "max_bytes" not in settings_of(render("log-claim"))["log"]


def test_its_disk_is_asked_for(render: Render) -> None:
    def asked(*arguments: str) -> int:
        container = container_of(only(render("default", *arguments), "Deployment"))
        return int(container["resources"]["requests"]["ephemeral-storage"].removesuffix("Mi"))

    assert asked("--set", "log.enabled=true,log.shipTo=s3://a,log.sizeLimit=2Gi") == asked() + 2048
    assert asked(*CLAIM) == asked()


def test_the_store_may_be_reached_where_a_policy_forbids_the_rest(render: Render) -> None:
    policy = only(render("log"), "NetworkPolicy")
    assert {"ports": [{"port": 9000, "protocol": "TCP"}]} in policy["spec"]["egress"]


def test_a_claim_is_tended_by_a_cronjob(render: Render) -> None:
    manifests = render("log-claim")
    spec = pod_of(only(manifests, "Deployment"))
    assert "initContainers" not in spec
    job = only(manifests, "CronJob")["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    pod = job["jobTemplate"]["spec"]["template"]
    assert "cpfd/serves" not in pod["metadata"]["labels"]  # no Service leads there
    (container,) = pod["spec"]["containers"]
    assert container["image"] == "cpfd-log@sha256:" + "d" * 64
    options = _parser().parse_args(container["args"])
    assert (str(options.directory), options.once, options.keep_days, options.to) == ("/log", True, 90, None)
    volume = {"name": "log", "persistentVolumeClaim": {"claimName": "cpfd-log"}}
    assert volume in spec["volumes"]
    assert volume in pod["spec"]["volumes"]
    assert pod["spec"]["securityContext"] == spec["securityContext"]  # or it could not write there


def test_in_mode_gateway_each_workload_has_its_own(render: Render) -> None:
    manifests = render("gateway", "--set", "log.enabled=true,log.shipTo=s3://a/b")
    for deployment in of_kind(manifests, "Deployment"):
        assert [c["name"] for c in pod_of(deployment)["initContainers"]][-1] == "log"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--set", "log.enabled=true"), "name log.shipTo, or a log.claim"),
        (("--set", "log.enabled=true,log.shipTo=bucket"), "shipTo"),
        (("--set", "log.enabled=true,log.shipTo=s3://a", "--kube-version", "1.28.0"), "needs Kubernetes 1.29"),
        (("--set", "log.enabled=true,log.shipTo=s3://a,log.sizeLimit=200Mi"), "four files"),
        (("--set", "config.log.directory=/data"), "directory"),
        (("--set", "extraEnv[0].name=CPFD_LOG__DIRECTORY,extraEnv[0].value=/x"), "belongs in config"),
        (("--set-json", 'arms=[{"name":"log","weight":1,"bundle":{"claim":"c"}}]'), "name"),
    ],
)
def test_what_does_not_go_together_is_refused(
    refusal: Callable[..., str], arguments: tuple[str, ...], says: str
) -> None:
    assert says in refusal(*arguments)


def test_lines_of_the_log_are_another_setting(render: Render) -> None:
    render("default", "--set", "extraEnv[0].name=CPFD_LOG_LEVEL,extraEnv[0].value=debug")
