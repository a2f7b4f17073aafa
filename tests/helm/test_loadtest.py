"""loadtest.yaml: the Jobs of a distributed load test, their objectives, and how they find each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtest.__main__ import _parser
from loadtest.objectives import read_objectives
from loadtest.run_file import RunFile
from loadtest.shapes import make_plan
from tests.helm.conftest import CHART, ROOT, Manifest, Render, named, of_kind, only, pod_of, run

ON = ("--set", "loadtest.enabled=true")


def jobs(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The two Jobs, by role."""
    return {job["metadata"]["labels"]["app.kubernetes.io/component"][9:]: job for job in of_kind(manifests, "Job")}


def options(job: Manifest) -> Any:
    (container,) = pod_of(job)["containers"]
    return _parser().parse_args(container["args"])


def test_nothing_without_the_switch(render: Render) -> None:
    assert of_kind(render("default"), "Job") == []
    assert "loadtest" not in str([m["metadata"]["name"] for m in render("default")])


@pytest.mark.parametrize("case", ["default", "loadtest"])
def test_the_load_test_takes_its_arguments(render: Render, case: str) -> None:
    made = jobs(render(case, *ON))
    master, worker = options(made["master"]), options(made["worker"])
    assert (master.master, master.worker, worker.master, worker.worker) == (True, False, False, True)
    assert master.expect_workers == made["worker"]["spec"]["parallelism"] == made["worker"]["spec"]["completions"]
    assert master.expect_workers <= RunFile.model_fields["sources"].default
    for name in ("host", "rate", "shape", "seconds", "arm", "timeout", "objectives", "corpus", "wait_for"):
        assert getattr(master, name) == getattr(worker, name)
    assert master.host == ["http://mod-cpfd:80"]
    assert master.wait_for == ["http://mod-cpfd:80/readyz"]
    make_plan(master.shape, per_s=float(master.rate), seconds=master.seconds, arm=master.arm)


def test_workers_find_the_master_of_their_own_run(render: Render) -> None:
    manifests = render("loadtest")
    made = jobs(manifests)
    service = named(manifests, "Service", "mod-cpfd-loadtest")
    assert options(made["worker"]).master_host == service["metadata"]["name"]
    (port,) = service["spec"]["ports"]
    (shown,) = pod_of(made["master"])["containers"][0]["ports"]
    assert (port["targetPort"], port["port"]) == (shown["name"], options(made["worker"]).master_port)
    assert shown["containerPort"] == options(made["master"]).master_port
    labels = {role: job["spec"]["template"]["metadata"]["labels"] for role, job in made.items()}
    assert service["spec"]["selector"].items() <= labels["master"].items()
    assert not service["spec"]["selector"].items() <= labels["worker"].items()
    assert not any("cpfd/serves" in found for found in labels.values())


def test_pods_are_as_locked_up_as_the_services(render: Render) -> None:
    for job in jobs(render("loadtest")).values():
        pod = pod_of(job)
        (container,) = pod["containers"]
        assert pod["restartPolicy"] == "Never"
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["nodeSelector"] == {"pool": "generators"}
        assert container["image"] == "cpfd-loadtest:0.1.0"
        assert job["spec"]["backoffLimit"] == 0
        # Waiting, the plan, and time to judge.
        assert job["spec"]["activeDeadlineSeconds"] >= 600 + 600 + 60
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert writable == {"/results", "/tmp"}


def test_only_the_master_writes_to_the_claim(render: Render) -> None:
    claims = {
        role: [v["persistentVolumeClaim"]["claimName"] for v in pod_of(job)["volumes"] if "persistentVolumeClaim" in v]
        for role, job in jobs(render("loadtest")).items()
    }
    assert claims == {"master": ["loadtest-results", "clips"], "worker": ["clips"]}


def test_the_objectives_are_read_by_what_judges(render: Render, tmp_path: Path) -> None:
    text = named(render("loadtest"), "ConfigMap", "mod-cpfd-loadtest")["data"]["objectives.yaml"]
    (tmp_path / "objectives.yaml").write_text(text)
    objectives = read_objectives(tmp_path / "objectives.yaml")
    assert set(objectives.arms) == {"baseline", "student"}
    assert objectives.arms["student"].p95_ms == 800
    weightless = render("istio", *ON)
    text = named(weightless, "ConfigMap", "mod-cpfd-loadtest")["data"]["objectives.yaml"]
    assert set(yaml.safe_load(text)["arms"]) == {"baseline"}


def test_the_default_objectives_are_the_committed_ones() -> None:
    committed = yaml.safe_load((ROOT / "configs" / "objectives.yaml").read_text())
    committed.pop("arms")  # the chart's own
    assert yaml.safe_load((CHART / "values.yaml").read_text())["loadtest"]["objectives"] == committed


def test_changed_values_make_another_run(render: Render) -> None:
    def names(*arguments: str) -> set[str]:
        return {job["metadata"]["name"] for job in jobs(render("default", *ON, *arguments)).values()}

    assert names() == names("--set", "replicaCount=3")
    for change in ("loadtest.run=2", "loadtest.rate=11", "loadtest.image.tag=x", "service.port=81"):
        assert not names() & names("--set", change)


def test_behind_a_router_every_arm_is_waited_for_and_no_id_is_expected_to_stick(render: Render) -> None:
    master = options(jobs(render("gateway", *ON, "--set", "loadtest.target=http://moderation.example"))["master"])
    assert master.host == ["http://moderation.example"]
    assert master.wait_for == [f"http://mod-cpfd-{arm}:80/readyz" for arm in ("baseline", "student", "shadow")]
    assert master.mix == {"duplicate": 0}


def test_the_network_policy_lets_it_in(render: Render) -> None:
    rule = only(render("loadtest"), "NetworkPolicy")["spec"]["ingress"][0]
    selected = [peer["podSelector"]["matchLabels"] for peer in rule["from"] if "podSelector" in peer]
    for job in jobs(render("loadtest")).values():
        labels = job["spec"]["template"]["metadata"]["labels"]
        assert any(wanted.items() <= labels.items() for wanted in selected)


def test_notes_tell_how_to_read_the_verdict(helm: str) -> None:
    done = run(helm, "install", "mod", str(CHART), "--dry-run=client", *ON)
    assert "logs job/mod-cpfd-loadtest-master-" in done.stdout.partition("NOTES:")[2]
