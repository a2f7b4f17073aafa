"""Rules, dashboards, monitors and the runbook: each names only what exists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.metrics import Metrics
from tests.helm.conftest import CHART, ROOT, Render, container_of, named, of_kind, only, run

RULES = CHART / "files" / "rules.yaml"
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))
RUNBOOK = ROOT / "docs" / "runbook.md"
TESTS = [ROOT / "tests" / "helm" / name for name in ("rules_test.yaml", "rules_over_days_test.yaml")]
SCOPED_TEST = ROOT / "tests" / "helm" / "rules_scoped_test.yaml"
SUFFIXES = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",), "gauge": ("",)}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def exposed() -> dict[str, set[str]]:
    """Series name -> its labels, as a scrape of the service shows them."""
    found: dict[str, set[str]] = {}
    for metric in vars(Metrics()).values():
        kind = getattr(metric, "_type", None)
        for suffix in SUFFIXES.get(kind or "", ()):
            found[metric._name + suffix] = set(metric._labelnames)
    return found


def dashboard_expressions(path: Path) -> list[str]:
    return [target["expr"] for panel in json.loads(path.read_text())["panels"] for target in panel["targets"]]


def series_in(expression: str) -> set[str]:
    return set(re.findall(r"(?<![:\w])cpfd_\w+(?![:\w])", expression))


def recorded_in(expression: str) -> set[str]:
    return set(re.findall(r"\b\w+:cpfd_\w+:\w+", expression))


def named_labels(expression: str) -> set[str]:
    inside = re.findall(r"\{([^}]*)\}", expression)
    matched = {name for part in inside for name in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", part)}
    grouped = re.findall(r"\b(?:by|ignoring|on)\s*\(([^)]*)\)", expression)
    return matched | {name.strip() for part in grouped for name in part.split(",")}


SYMPTOMS = {"The experiment's numbers look wrong"}
"""Sections of the runbook on what people see and no alert says."""
ASKED = re.findall(r"(?m)^    q '(.+)'$", RUNBOOK.read_text())
EXPRESSIONS = (
    [rule["expr"] for rule in rules()] + [e for path in DASHBOARDS for e in dashboard_expressions(path)] + ASKED
)
TARGET_LABELS = {"namespace", "job", "instance", "pod", "le"} | {"container", "phase"}
"""Of every target, and of kube-state-metrics."""


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_series_is_one_that_the_service_shows(expression: str) -> None:
    known = exposed()
    assert series_in(expression) <= set(known)
    assert recorded_in(expression) <= {rule["record"] for rule in rules() if "record" in rule}
    if series := series_in(expression):
        labels = set().union(*(known[name] for name in series))
        labels |= {"arm", "task", "stage", "above"} if recorded_in(expression) else set()
        assert named_labels(expression) <= labels | TARGET_LABELS


def test_every_metric_is_looked_at() -> None:
    looked_at = {name for expression in EXPRESSIONS for name in series_in(expression)}
    shown = {m._name: SUFFIXES[m._type] for m in vars(Metrics()).values() if hasattr(m, "_type")}
    assert [name for name, suffixes in shown.items() if not looked_at & {name + s for s in suffixes}] == []


@pytest.mark.parametrize("name", sorted(alerts()))
def test_every_alert_has_a_runbook_section_with_a_command(name: str) -> None:
    alert = alerts()[name]
    assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    assert alert["labels"]["severity"] in ("page", "ticket")
    sections = re.split(r"(?m)^## ", RUNBOOK.read_text())[1:]
    (section,) = [s for s in sections if s.splitlines()[0] == name]
    assert re.search(r"(?m)^    (k|q|lines|helm|kubectl) ", section)


def test_the_runbook_has_no_section_without_an_alert() -> None:
    assert set(re.findall(r"(?m)^## (.+)$", RUNBOOK.read_text())) == set(alerts()) | SYMPTOMS


def test_every_alert_fires_in_a_test() -> None:
    fired = set()
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            fired |= {case["alertname"] for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == set(alerts())


def test_rules_are_well_formed(promtool: str) -> None:
    done = run(promtool, "check", "rules", str(RULES))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_where_they_must(promtool: str, path: Path) -> None:
    done = run(promtool, "test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_whole(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] == f"cpfd-{path.stem}"
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"]) >= 8
    assert all(expression.strip() for expression in dashboard_expressions(path))


@pytest.mark.slow
@pytest.mark.parametrize("path", [*DASHBOARDS, RUNBOOK], ids=lambda path: path.stem)
def test_what_people_look_at_is_promql(promtool: str, path: Path, tmp_path: Path) -> None:
    variables = {"$namespace": ".*", "$job": ".*", "$__rate_interval": "5m", "$core_hour": "0.04"}
    found = []
    for i, expression in enumerate(ASKED if path == RUNBOOK else dashboard_expressions(path)):
        for name, value in variables.items():
            expression = expression.replace(name, value)
        found.append({"record": f"x{i}", "expr": expression})
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": found}]}))
    done = run(promtool, "check", "rules", str(tmp_path / "rules.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_prometheus_rule_holds_the_tested_rules(render: Render) -> None:
    resource = only(render("monitoring"), "PrometheusRule")
    shown = [rule for group in resource["spec"]["groups"] for rule in group["rules"]]
    expected = [rule for rule in rules() if rule.get("alert") != "CpfdQuarantine"]
    scope = re.compile(r"""\{?namespace="ns",(?:job="mod"|pod=~"\(mod-cpfd\)-\[a-z0-9\]\+-\[a-z0-9\]\+"),?""")
    bare = [re.sub(r"\{\}", "", scope.sub("{", r["expr"]).replace("{}", "")) for r in shown]
    assert bare == [r["expr"] for r in expected]
    urls = [r["annotations"]["runbook_url"] for r in shown if "alert" in r]
    assert all(url.startswith("https://git.example/cpfd/blob/main/docs/runbook.md#cpfd") for url in urls)
    assert resource["metadata"]["labels"]["release"] == "prometheus"


@pytest.mark.parametrize(("case", "release"), [("monitoring", "mod"), ("gateway", "cpfd")])
def test_rules_read_nothing_of_another_release(render: Render, case: str, release: str) -> None:
    resource = only(render(case, "--set", "monitoring.rules.enabled=true", release=release), "PrometheusRule")
    for rule in (rule for group in resource["spec"]["groups"] for rule in group["rules"]):
        code = re.sub(r"(?m)#.*$", "", rule["expr"])
        read = re.findall(r"\b((?:job[a-z_]*:)?cpfd_[\w:]+|up(?=\{)|kube_\w+)(\{[^}]*\})?", code)
        assert read
        for series, matchers in read:
            own = 'pod=~"(' if series.startswith("kube_") else f'job="{release}"'
            assert matchers.startswith(f'{{namespace="ns",{own}'), f"{series}{matchers}"


@pytest.mark.slow
def test_another_release_raises_no_alert_here(render: Render, promtool: str, tmp_path: Path) -> None:
    resource = only(render("monitoring", "-n", "m", release="cpfd"), "PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(resource["spec"]))
    (tmp_path / "test.yaml").write_text(SCOPED_TEST.read_text())
    done = run(promtool, "test", "rules", str(tmp_path / "test.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_job_is_the_one_that_prometheus_uses(render: Render) -> None:
    resource = only(render("monitoring", "--set", "monitoring.rules.job=vision"), "PrometheusRule")
    assert 'job="vision"' in str(resource["spec"])
    assert 'job="mod"' not in str(resource["spec"])


def test_dashboards_arrive_unchanged(render: Render) -> None:
    for path in DASHBOARDS:
        resource = named(render("monitoring"), "ConfigMap", f"mod-cpfd-{path.stem}")
        assert json.loads(resource["data"][path.name]) == json.loads(path.read_text())
        assert resource["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert resource["metadata"]["annotations"] == {"grafana_folder": "cpfd"}


def test_monitors_find_one_endpoint_for_each_pod(render: Render) -> None:
    monitor = only(render("monitoring"), "ServiceMonitor")["spec"]
    services = of_kind(render("monitoring"), "Service")
    found = [s for s in services if monitor["selector"]["matchLabels"].items() <= s["metadata"]["labels"].items()]
    assert len(found) == 1
    pods = only(render("podmonitor"), "PodMonitor")["spec"]
    labels = only(render("podmonitor"), "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert pods["selector"]["matchLabels"].items() <= labels.items()
    assert pods["podMetricsEndpoints"][0]["interval"] == "30s"


def test_monitors_scrape_the_port_of_the_metrics_also_of_pods_that_are_not_ready(render: Render) -> None:
    service = named(render("monitoring"), "Service", "mod-cpfd-metrics")["spec"]
    (port,) = service["ports"]
    assert only(render("monitoring"), "ServiceMonitor")["spec"]["endpoints"][0]["port"] == port["name"]
    assert service["publishNotReadyAddresses"] is True
    container = container_of(only(render("podmonitor"), "Deployment"))
    names = {found["name"]: found["containerPort"] for found in container["ports"]}
    assert only(render("podmonitor"), "PodMonitor")["spec"]["podMetricsEndpoints"][0]["port"] == "metrics"
    assert names[port["targetPort"]] == port["port"] == 9090
    # By this name the alert CpfdPodDown knows a pod of ours.
    assert 'container="cpfd"' in alerts()["CpfdPodDown"]["expr"]
    assert container["name"] == "cpfd"
