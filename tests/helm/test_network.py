"""service.yaml, httproute.yaml, virtualservice.yaml, networkpolicy.yaml, tests/classify.yaml, NOTES.txt."""

from __future__ import annotations

import pytest

from tests.helm.conftest import CHART, Render, named, of_kind, only, run


def test_services_point_at_the_named_port(render: Render) -> None:
    services = of_kind(render("gateway"), "Service")
    assert {s["metadata"]["name"] for s in services} == {
        "mod-cpfd",
        "mod-cpfd-baseline",
        "mod-cpfd-student",
        "mod-cpfd-shadow",
    }
    assert {s["spec"]["ports"][0]["targetPort"] for s in services} == {"http"}
    extra = only(render("extras"), "Service")
    assert (extra["spec"]["type"], extra["spec"]["ports"][0]["port"]) == ("LoadBalancer", 8080)


def test_the_gateway_weighs_and_mirrors(render: Render) -> None:
    route = only(render("gateway"), "HTTPRoute")
    (rule,) = route["spec"]["rules"]
    assert {b["name"]: b["weight"] for b in rule["backendRefs"]} == {
        "mod-cpfd-baseline": 90,
        "mod-cpfd-student": 10,
        "mod-cpfd-shadow": 0,
    }
    (mirror,) = rule["filters"]
    assert mirror["requestMirror"] == {"backendRef": {"name": "mod-cpfd-shadow", "port": 80}, "percent": 20}
    assert rule["timeouts"] == {"request": "65s"}
    assert route["spec"]["parentRefs"] == [{"name": "public", "namespace": "gateways"}]


def test_the_mesh_weighs_and_mirrors(render: Render) -> None:
    spec = only(render("istio"), "VirtualService")["spec"]
    (http,) = spec["http"]
    assert [(r["destination"]["host"], r["weight"]) for r in http["route"]] == [
        ("mod-cpfd-baseline", 100),
        ("mod-cpfd-student", 0),
    ]
    assert http["mirror"]["host"] == "mod-cpfd-student"
    assert http["mirrorPercentage"] == {"value": 10}


@pytest.mark.parametrize("case", ["default", "keda-gateway"])
def test_no_router_where_none_is_asked_for(render: Render, case: str) -> None:
    assert of_kind(render(case), "HTTPRoute") + of_kind(render(case), "VirtualService") == []


def test_only_the_bundle_store_and_names_can_be_reached(render: Render) -> None:
    policy = only(render("fetch"), "NetworkPolicy")["spec"]
    ports = [p["port"] for rule in policy["egress"] for p in rule["ports"]]
    assert ports == [53, 53, 443]
    (ingress,) = policy["ingress"]
    assert ingress["ports"] == [{"port": "http", "protocol": "TCP"}]
    assert {"podSelector": {}} in ingress["from"]
    local = only(render("default", "--set", "networkPolicy.enabled=true"), "NetworkPolicy")["spec"]
    assert [p["port"] for rule in local["egress"] for p in rule["ports"]] == [53, 53]


def test_the_test_pod_asks_every_service(render: Render) -> None:
    pod = named(render("gateway"), "Pod", "mod-cpfd-test")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = pod["spec"]["containers"]
    services = {s["metadata"]["name"] for s in of_kind(render("gateway"), "Service")}
    assert {arg.removeprefix("http://").removesuffix(":80") for arg in container["args"]} == services


def test_notes_tell_the_next_command(helm: str) -> None:
    # `helm install --dry-run=client` shows the notes without a cluster.
    done = run(helm, "install", "mod", str(CHART), "--dry-run=client", "--set", "faults.cpuLimit=250m")
    notes = done.stdout.partition("NOTES:")[2]
    assert "helm -n default test mod --logs" in notes
    assert "FAULTS ARE INJECTED" in notes
