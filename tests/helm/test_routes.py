"""ingress.yaml, httproute.yaml, virtualservice.yaml: what leads callers in, and to which arm."""

from __future__ import annotations

import pytest

from tests.helm.conftest import Render, of_kind, only


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


def test_an_ingress_leads_to_the_service_that_splits(render: Render) -> None:
    ingress = only(render("ingress"), "Ingress")
    assert ingress["spec"]["tls"] == [{"secretName": "moderation-tls", "hosts": ["moderation.example"]}]
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert (rule["host"], path["path"]) == ("moderation.example", "/classify")
    service = only(render("ingress"), "Service")
    assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": "http"}}
    assert service["spec"]["ports"][0]["name"] == "http"


def test_an_ingress_has_a_certificate_and_hosts_where_they_are_named(render: Render) -> None:
    plain = only(render("default", "--set", "route.kind=ingress"), "Ingress")
    assert "tls" not in plain["spec"]
    assert "annotations" not in plain["metadata"]
    assert "host" not in plain["spec"]["rules"][0]


def test_the_controllers_own_limits_do_not_refuse_a_clip(render: Render) -> None:
    # Those of ingress-nginx are 1 MB and 60 s: a clip of 64 MiB and the longest deadline must pass.
    annotations = only(render("ingress"), "Ingress")["metadata"]["annotations"]
    assert annotations["cert-manager.io/cluster-issuer"] == "public"
    assert annotations["nginx.ingress.kubernetes.io/proxy-body-size"] == "65m"
    assert annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "65"


def test_a_gateway_leads_to_the_service_that_splits(render: Render) -> None:
    route = only(render("httproute"), "HTTPRoute")["spec"]
    assert route["parentRefs"] == [{"name": "public", "namespace": "gateways", "sectionName": "https"}]
    (rule,) = route["rules"]
    assert rule["backendRefs"] == [{"name": "mod-cpfd", "port": 80, "weight": 100}]
    assert "filters" not in rule
    mesh = only(render("default", "--set", "route.kind=istio"), "VirtualService")["spec"]
    (leg,) = mesh["http"]
    assert [r["destination"]["host"] for r in leg["route"]] == ["mod-cpfd"]


def test_an_arm_taken_out_gets_nothing_from_a_router(render: Render) -> None:
    rule = only(render("gateway", "--set", "armWeights.student=0"), "HTTPRoute")["spec"]["rules"][0]
    assert {b["name"]: b["weight"] for b in rule["backendRefs"]}["mod-cpfd-student"] == 0
    mesh = only(render("istio", "--set", "armWeights.student=30"), "VirtualService")["spec"]["http"][0]
    assert [r["weight"] for r in mesh["route"]] == [100, 30]
