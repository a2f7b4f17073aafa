"""horizontalpodautoscaler.yaml, scaledobject.yaml, poddisruptionbudget.yaml."""

from __future__ import annotations

from tests.helm.conftest import Render, of_kind, only


def test_hpa_scales_on_seconds_of_work_and_cpu(render: Render) -> None:
    spec = only(render("hpa"), "HorizontalPodAutoscaler")["spec"]
    pods, cpu = spec["metrics"]
    assert pods["pods"] == {
        "metric": {"name": "cpfd_queue_seconds_of_work"},
        "target": {"type": "AverageValue", "averageValue": "2"},
    }
    assert cpu["containerResource"]["container"] == "cpfd"
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mod-cpfd"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 30)


def test_keda_grows_without_its_metric(render: Render) -> None:
    objects = of_kind(render("keda-gateway"), "ScaledObject")
    assert [o["spec"]["scaleTargetRef"]["name"] for o in objects] == ["mod-cpfd-baseline", "mod-cpfd-student"]
    for found in objects:
        (trigger,) = found["spec"]["triggers"]
        assert "cpfd_queue_seconds_of_work" in trigger["metadata"]["query"]
        assert found["spec"]["fallback"] == {"failureThreshold": 3, "replicas": 6}
    rollout = only(render("rollout"), "ScaledObject")["spec"]
    assert rollout["scaleTargetRef"]["kind"] == "Rollout"
    assert rollout["fallback"]["replicas"] == rollout["maxReplicaCount"]


def test_only_one_autoscaler_at_a_time(render: Render) -> None:
    for case in ("default", "hpa", "rollout"):
        kinds = [m["kind"] for m in render(case) if m["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]
        assert len(kinds) == (case != "default")


def test_one_pod_of_each_workload_may_be_gone(render: Render) -> None:
    budgets = of_kind(render("gateway"), "PodDisruptionBudget")
    deployments = of_kind(render("gateway"), "Deployment")
    assert [b["spec"]["selector"] for b in budgets] == [d["spec"]["selector"] for d in deployments]
    assert {b["spec"]["maxUnavailable"] for b in budgets} == {1}
