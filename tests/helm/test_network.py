"""service.yaml, networkpolicy.yaml, tests/classify.yaml, NOTES.txt."""

from __future__ import annotations

import json

import pytest

from tests.helm.conftest import CHART, Manifest, Render, container_of, named, of_kind, only, run


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


def test_only_the_bundle_store_and_names_can_be_reached(render: Render) -> None:
    policy = only(render("fetch"), "NetworkPolicy")["spec"]
    assert open_ports(policy) == [53, 53, 443]
    local = only(render("default", "--set", "networkPolicy.enabled=true"), "NetworkPolicy")["spec"]
    assert open_ports(local) == [53, 53]


def open_ports(policy: Manifest) -> list[int]:
    return [p["port"] for rule in policy["egress"] for p in rule["ports"]]


ENDPOINT = ("--set", "fetch.extraEnv[0].name=AWS_ENDPOINT_URL,fetch.extraEnv[0].value=http://minio:9000")


@pytest.mark.parametrize(
    ("source", "more", "port"),
    [
        ("http://minio:9000/b", (), 9000),
        ("http://models.example/b", (), 80),
        ("https://models.example:8443/b", (), 8443),
        ("s3://models/b", (), 443),
        ("s3://models/b", ENDPOINT, 9000),
        ("/mnt/b", (), None),
    ],
)
def test_the_port_of_the_bundle_store_is_open(
    render: Render, source: str, more: tuple[str, ...], port: int | None
) -> None:
    arms = json.dumps([{"name": "student", "weight": 1, "bundle": {"source": source, "digest": "a" * 64}}])
    given = ("--set", "networkPolicy.enabled=true", "--set-json", f"arms={arms}", *more)
    assert open_ports(only(render("default", *given), "NetworkPolicy")["spec"]) == [53, 53] + ([port] if port else [])


def test_callers_do_not_reach_the_metrics(render: Render) -> None:
    service, metrics = only(render("fetch"), "NetworkPolicy")["spec"]["ingress"]
    assert service["ports"] == [{"port": "http", "protocol": "TCP"}]
    assert {"podSelector": {}} in service["from"]
    assert metrics["ports"] == [{"port": "metrics", "protocol": "TCP"}]
    (scraper,) = metrics["from"]
    assert scraper["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    assert scraper not in service["from"]
    container = container_of(only(render("fetch"), "Deployment"))
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"http": 8000, "metrics": 9090}
    # Whatever leads in from outside leads to the callers' port.
    for case in ("default", "monitoring", "gateway", "extras"):
        for found in of_kind(render(case), "Service"):
            is_for_scrapes = found["metadata"]["name"] == "mod-cpfd-metrics"
            assert ("metrics" in str(found["spec"]["ports"])) == is_for_scrapes
            assert not is_for_scrapes or found["spec"]["type"] == "ClusterIP"


@pytest.mark.parametrize(("case", "name"), [("gateway", "gateways"), ("ingress", "ingress-nginx")])
def test_the_policy_lets_the_gateway_in(render: Render, case: str, name: str) -> None:
    rule = only(render(case), "NetworkPolicy")["spec"]["ingress"][0]
    namespaces = [peer["namespaceSelector"]["matchLabels"] for peer in rule["from"] if "namespaceSelector" in peer]
    assert namespaces == [{"kubernetes.io/metadata.name": name}]


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
    assert "NOTHING WEIGHS" not in notes
    done = run(helm, "install", "mod", str(CHART), "--dry-run=client", "--set", "split.mode=gateway")
    assert "NOTHING WEIGHS THE ARMS" in done.stdout.partition("NOTES:")[2]
