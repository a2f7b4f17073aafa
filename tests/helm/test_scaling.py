"""horizontalpodautoscaler.yaml, scaledobject.yaml, poddisruptionbudget.yaml; whether signals can be reached."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import MIB, AdmissionSettings, Settings, read_settings
from tests.helm.conftest import CHART, Manifest, Render, named, of_kind, only

BOUNDED_BY_WORK = "max_seconds_of_work" in AdmissionSettings.model_fields
"""Whether the service bounds the seconds of accepted work, and not only requests and bytes."""
SIGNALS = {"cpfd_queue_seconds_of_work", "cpfd_inflight_bytes"} | (
    set() if BOUNDED_BY_WORK else {"cpfd_inflight_requests"}
)
TOLERANCE = 1.1
"""Kubernetes adds no pod for a signal that is less than a tenth above its target."""
WORK_S = (0.02, 0.05, 0.1, 0.35, 1.0, 3.0)
"""Seconds of work in a request: a title, clips for a small model, a 720p clip, large models."""
SIZES = (2_000, 300_000, 2 * MIB, 8 * MIB, 64 * MIB)
KINDS = (("hpa", "HorizontalPodAutoscaler"), ("httproute", "ScaledObject"))
CORES = (1, 2, 3, 4, 8, 16, 32, 64)


def targets(autoscaler: Manifest) -> dict[str, float]:
    """What one pod should have of each signal: of an HPA, or of a ScaledObject."""
    if autoscaler["kind"] == "ScaledObject":
        triggers = [trigger["metadata"] for trigger in autoscaler["spec"]["triggers"]]
        return {re.findall(r"cpfd_\w+", t["query"])[0]: float(t["threshold"]) for t in triggers}
    metrics = [metric["pods"] for metric in autoscaler["spec"]["metrics"] if metric["type"] == "Pods"]
    return {m["metric"]["name"]: float(m["target"]["averageValue"]) for m in metrics}


def with_cores(cores: int) -> tuple[str, ...]:
    return ("--set", f"resources.requests.cpu={cores},resources.limits.memory=64Gi")


def full_pod(settings: Settings, cores: int, work_s: float, size: int) -> dict[str, float]:
    """The signals of a pod that takes no more: the arithmetic of service.stages.admission."""
    bounds: Any = settings.admission
    backlog_s = getattr(bounds, "max_seconds_of_work", math.inf)
    most = min(bounds.max_requests or 1024 * cores, bounds.max_bytes // size, backlog_s * cores / work_s)
    return {
        "cpfd_queue_seconds_of_work": most * work_s / cores,
        "cpfd_inflight_requests": most,
        "cpfd_inflight_bytes": most * size,
    }


@pytest.fixture
def settings_of(render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The service's settings on so many cores, as the chart writes them."""

    def read(*arguments: str) -> Settings:
        manifest = named(render("default", *arguments), "ConfigMap", "mod-cpfd")
        (tmp_path / "serve.yaml").write_text(manifest["data"]["serve.yaml"])
        for variable in ("PORT", "HOST"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("CPFD_CONFIG", str(tmp_path / "serve.yaml"))
        return read_settings()

    return read


@pytest.mark.parametrize("cores", CORES)
def test_a_full_pod_asks_for_another(render: Render, settings_of: Any, cores: int) -> None:
    settings = settings_of(*with_cores(cores))
    scalers = [only(render(case, *with_cores(cores)), kind) for case, kind in KINDS]
    for scaler, work_s, size in itertools.product(scalers, WORK_S, SIZES):
        shown = full_pod(settings, cores, work_s, size)
        pressure = {name: shown[name] / target for name, target in targets(scaler).items()}
        assert max(pressure.values()) > TOLERANCE, f"{work_s} s, {size} bytes: {pressure}"


@pytest.mark.parametrize("cores", CORES)
def test_clips_can_reach_the_seconds_that_scaling_and_the_alert_wait_for(
    render: Render, settings_of: Any, cores: int
) -> None:
    settings = settings_of(*with_cores(cores))
    target = targets(only(render("hpa", *with_cores(cores)), "HorizontalPodAutoscaler"))["cpfd_queue_seconds_of_work"]
    groups = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())["groups"]
    (alert,) = [r["expr"] for g in groups for r in g["rules"] if r.get("alert") == "CpfdQueueSecondsOfWork"]
    fires_at = float(re.findall(r"> ([\d.]+)", alert)[0])
    for work_s in (0.1, 0.35, 1.0, 3.0):
        ceiling = full_pod(settings, cores, work_s, 2 * MIB)["cpfd_queue_seconds_of_work"]
        assert target * TOLERANCE < fires_at < ceiling


@pytest.mark.parametrize("cores", CORES)
def test_a_full_pod_stays_within_its_disk(render: Render, settings_of: Any, cores: int) -> None:
    settings = settings_of(*with_cores(cores))
    uploads: Any = getattr(settings, "uploads", None)
    admitted = settings.admission.max_bytes + (uploads.max_bytes if uploads else 0)
    (spool,) = [
        volume["emptyDir"]["sizeLimit"]
        for volume in only(render("default", *with_cores(cores)), "Deployment")["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "spool"
    ]
    assert admitted < int(spool.removesuffix("Mi")) * MIB


def test_bounds_leave_room_for_the_largest_body(settings_of: Any) -> None:
    large = settings_of("--set", "resources.requests.cpu=1,config.body.max_media_bytes=400000000")
    assert large.admission.max_bytes >= large.body.max_body_bytes


def test_hpa_scales_on_what_waits_and_on_cpu(render: Render) -> None:
    spec = only(render("hpa"), "HorizontalPodAutoscaler")["spec"]
    assert targets(only(render("hpa"), "HorizontalPodAutoscaler")).keys() == SIGNALS
    (cpu,) = [metric for metric in spec["metrics"] if metric["type"] != "Pods"]
    assert cpu["containerResource"]["container"] == "cpfd"
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mod-cpfd"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 30)


def test_keda_grows_without_its_metrics(render: Render) -> None:
    objects = of_kind(render("keda-gateway"), "ScaledObject")
    assert [o["spec"]["scaleTargetRef"]["name"] for o in objects] == ["mod-cpfd-baseline", "mod-cpfd-student"]
    for found in objects:
        assert targets(found).keys() == SIGNALS
        own = f'{{namespace="ns",pod=~"{found["metadata"]["name"]}-[a-z0-9]+-[a-z0-9]+"}}'
        assert all(own in trigger["metadata"]["query"] for trigger in found["spec"]["triggers"])
        # The fallback works for targets of this type, and for no trigger on CPU or memory.
        assert {(t["type"], t["metricType"]) for t in found["spec"]["triggers"]} == {("prometheus", "AverageValue")}
        assert found["spec"]["fallback"] == {"failureThreshold": 3, "replicas": 6}
    unset = only(render("httproute"), "ScaledObject")["spec"]
    assert unset["fallback"]["replicas"] == unset["maxReplicaCount"]


def test_the_share_in_flight_can_be_chosen(render: Render) -> None:
    chosen = only(render("hpa", "--set", "autoscaling.targetInflightPercent=25"), "HorizontalPodAutoscaler")
    assert targets(chosen)["cpfd_inflight_bytes"] == 0.25 * 512 * MIB


def test_only_one_autoscaler_at_a_time(render: Render) -> None:
    for case in ("default", "hpa", "httproute"):
        kinds = [m["kind"] for m in render(case) if m["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]
        assert len(kinds) == (case != "default")


def test_one_pod_of_each_workload_may_be_gone(render: Render) -> None:
    budgets = of_kind(render("gateway"), "PodDisruptionBudget")
    deployments = of_kind(render("gateway"), "Deployment")
    assert [b["spec"]["selector"] for b in budgets] == [d["spec"]["selector"] for d in deployments]
    assert {b["spec"]["maxUnavailable"] for b in budgets} == {1}
