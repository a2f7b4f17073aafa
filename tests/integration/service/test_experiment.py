"""Experiments over a real socket: units, forced arms, decision ids, the live view, a stopped arm, shadows."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from contract.bundle import read_manifest
from service.experiment.configuration import Experiments
from service.experiment.plan import Plan, Units
from service.experiment.stop_file import Stop, add_stops
from tests.integration.service.conftest import Running, Start

TOKEN = "a token of sixteen and more"
BOTH = {"Content-Type": "video/mp4"}


def post(url: str, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
    files = {name: (None, value.encode()) for name, value in ({"title": "a cat"} | fields).items()}
    return httpx.post(f"{url}/classify", files=files, headers=headers, timeout=20)


def ok(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def metric(running: Running, name: str, **labels: str) -> float:
    text = httpx.get(f"{running.url}/metrics").text
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    found = [
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith(f"{name}{{") and all(want in line for want in wanted)
    ]
    assert found, f"no {name} of {labels}"
    return sum(found)


def test_every_answer_has_a_decision_id_of_its_own_which_the_log_line_names(service: Running, clip: bytes) -> None:
    ids = [ok(post(service.url, {"X-Request-Id": "same"}, video_id="v"))["decision_id"] for _ in range(2)]
    assert len({*ids}) == 2
    refused = httpx.post(f"{service.url}/classify", content=clip[: len(clip) // 2], headers=BOTH)
    assert refused.status_code == 422
    ids.append(refused.json()["decision_id"])
    before = httpx.post(f"{service.url}/classify", content=b"", headers=BOTH)
    assert before.json()["decision_id"] is None
    logged = [line.get("decision_id") for line in service.lines() if line["message"] == "request"]
    assert set(ids) <= set(logged)


def test_an_account_sticks_to_an_arm_and_upstream_knows_which(start: Start) -> None:
    running = start(CPFD_EXPERIMENT__UNIT="account_id", CPFD_EXPERIMENT__HOLDOUT="0.3")
    arms = [{"name": name, "bundle": name, "weight": 50} for name in ("baseline", "student")]
    plan = Plan.of(Experiments.model_validate({"arms": arms, "experiment": {"unit": "account_id", "holdout": 0.3}}))
    now = datetime.now(UTC)
    for i in range(12):
        replies = [ok(post(running.url, account_id=f"a{i}", video_id=f"v{i}{j}")) for j in range(2)]
        expected = plan.assign(Units("", account_id=f"a{i}"), now)
        assert {reply["arm"] for reply in replies} == {expected.arm}
    outside = ok(post(running.url, video_id="v"))
    assert (outside["experiment"], outside["arm"]) == ("none", "baseline")
    bad = post(running.url, account_id="a\nb")
    assert (bad.status_code, bad.json()["code"]) == (400, "invalid_field")


def test_a_forced_arm_needs_the_token(start: Start, service: Running) -> None:
    running = start(CPFD_EXPERIMENT__FORCE_TOKEN=TOKEN)
    shown = {"Authorization": f"Bearer {TOKEN}"}
    for arm in ("baseline", "student"):
        for video in ("1", "2", "3"):
            assert ok(post(running.url, shown | {"X-Force-Arm": arm}, video_id=video))["arm"] == arm
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": "Bearer"}):
        refused = post(running.url, headers | {"X-Force-Arm": "student"})
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
        assert TOKEN not in refused.text
    nowhere = post(running.url, shown | {"X-Force-Arm": "nobody"})
    assert (nowhere.status_code, nowhere.json()["code"]) == (400, "invalid_field")
    assert post(service.url, shown | {"X-Force-Arm": "student"}).status_code == 401
    view = httpx.get(f"{running.url}/experiments/baseline-vs-student").json()
    assert [arm["forced"] for arm in view["arms"].values()] == [3, 3]
    assert [arm["requests"] for arm in view["arms"].values()] == [0, 0]
    assert TOKEN not in running.log.read_text()


def test_pods_obey_the_stop_file_and_let_the_arm_run_again(start: Start, bundles: Path, tmp_path: Path) -> None:
    path = tmp_path / "stops.json"
    settings = {"CPFD_EXPERIMENT__STOP_FILE": str(path), "CPFD_EXPERIMENT__STOP_POLL_SECONDS": "0.05"}
    running = start(**settings)
    videos = [f"v{i}" for i in range(12)]
    before = {video: ok(post(running.url, video_id=video))["arm"] for video in videos}
    assert set(before.values()) == {"baseline", "student"}
    digest = read_manifest(bundles / "student")[1]
    stop = Stop(
        experiment="baseline-vs-student",
        arm="student",
        bundle_digest=digest,
        guardrail="p99",
        reason="another pod says so",
        time_ms=1,
        pod="other",
    )
    add_stops(path, [stop])
    wait_for(lambda: metric(running, "cpfd_arm_stopped", arm="student") == 1)
    assert {ok(post(running.url, video_id=video))["arm"] for video in videos} == {"baseline"}
    view = httpx.get(f"{running.url}/experiments/baseline-vs-student").json()
    assert view["stopped"][0]["reason"] == "another pod says so"
    assert view["arms"]["student"]["weight"] == 0
    path.unlink()
    wait_for(lambda: metric(running, "cpfd_arm_stopped", arm="student") == 0)
    assert {video: ok(post(running.url, video_id=video))["arm"] for video in videos} == before


def wait_for(condition: Any) -> None:
    for _ in range(400):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not become so")


def test_the_live_view_counts_what_this_pod_saw(start: Start) -> None:
    running = start()
    for i in range(10):
        for _ in range(2):
            ok(post(running.url, video_id=f"v{i}"))
    view = httpx.get(f"{running.url}/experiments/baseline-vs-student").json()
    assert sum(arm["units"] for arm in view["arms"].values()) == 10
    assert sum(arm["requests"] for arm in view["arms"].values()) == 20
    assert sum(arm["outcomes"]["answered"] for arm in view["arms"].values()) == 20
    assert 0 <= view["sample_ratio"]["evidence"] < 1
    assert set(view["arms"]["student"]["guardrails"]) == {"error_rate", "p99"}
    assert view["arms"]["baseline"]["guardrails"] == {}
    assert view["arms"]["student"]["p99_ms"] > 0
    assert "this pod" in view["sees"]
    missing = httpx.get(f"{running.url}/experiments/other")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    labels = {json.dumps(line["route"]) for line in running.lines() if line["message"] == "request"}
    assert any("/experiments/" in label for label in labels)


def test_shadows_follow_the_reply_once_for_equal_requests(start: Start, clip: bytes) -> None:
    running = start(CPFD_EXPERIMENT__SHADOW_RATE="1")
    arms = []
    for i in range(6):
        reply = httpx.post(f"{running.url}/classify?video_id=v{i}", content=clip, headers=BOTH, timeout=20)
        arms.append(ok(reply)["arm"])
    total = lambda outcome: metric(running, "cpfd_shadows_total", outcome=outcome)  # noqa: E731
    wait_for(lambda: total("done") == 6)
    assert total("attempted") == 6
    view = httpx.get(f"{running.url}/experiments/baseline-vs-student").json()
    pairs = {arm: shown["shadow"]["done"] for arm, shown in view["arms"].items()}
    assert pairs == {"baseline": arms.count("student"), "student": arms.count("baseline")}
    assert view["arms"]["student"]["shadow"]["compared"].get("violence", 0) == pairs["student"]
    assert metric(running, "cpfd_batch_size_count") == 6
