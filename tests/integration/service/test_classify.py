"""POST /classify on good input, over a real socket."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.api.schemas import Problem, Verdict


def verdict(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    Verdict.model_validate(response.json())
    body: dict[str, Any] = response.json()
    return body


def post_form(client: httpx.Client, clip: bytes | None = None, **fields: str) -> httpx.Response:
    files: dict[str, Any] = {name: (None, value.encode()) for name, value in fields.items()}
    if clip is not None:
        files["video"] = ("clip.mp4", clip, "video/mp4")
    return client.post("/classify", files=files)


def test_a_form_and_a_raw_body_give_the_same_verdict(client: httpx.Client, clip: bytes) -> None:
    fields = {"title": "a fight in the park", "overlay_text": "news", "video_id": "clip-7"}
    by_form = verdict(post_form(client, clip, **fields))
    by_body = verdict(
        client.post("/classify", content=clip, params=fields, headers={"Content-Type": "video/mp4; codecs=avc1"})
    )
    chunked = verdict(
        client.post(
            "/classify",
            content=(clip[i : i + 1000] for i in range(0, len(clip), 1000)),
            params=fields,
            headers={"Content-Type": "application/octet-stream"},
        )
    )
    for reply in (by_body, chunked):
        for key in ("arm", "bundle", "modalities", "frames", "video", "tasks"):
            assert reply[key] == by_form[key]
    assert by_form["modalities"] == ["video", "text"]
    assert [frame["index"] for frame in by_form["frames"]] == [0, 1, 2, 3]
    assert by_form["video"]["codec"] == "h264"
    assert by_form["experiment"] == "baseline-vs-student"
    assert by_form["bundle"]["name"] == f"synthetic-{by_form['arm']}"
    assert set(by_form["tasks"]) == {"violence", "restricted_object", "clickbait", "topics"}


def test_text_alone_leaves_video_tasks_unsupported(client: httpx.Client) -> None:
    reply = verdict(post_form(client, title="you won't believe this cat"))
    assert (reply["modalities"], reply["frames"], reply["video"]) == (["text"], [], None)
    assert not reply["tasks"]["violence"]["supported"]
    assert not reply["tasks"]["violence"]["flagged"]
    assert reply["tasks"]["clickbait"]["supported"]


def test_video_alone_leaves_text_tasks_unsupported(client: httpx.Client, clip: bytes) -> None:
    reply = verdict(post_form(client, clip, title="   "))
    assert reply["modalities"] == ["video"]
    assert reply["tasks"]["violence"]["supported"]
    assert not reply["tasks"]["clickbait"]["supported"]


def test_text_over_the_budget_is_truncated_and_said_so(client: httpx.Client) -> None:
    kept = " ".join(["cat"] * 48)
    reply = verdict(post_form(client, title=f"{kept} fight fight", video_id="1"))
    assert reply["truncated_text_fields"] == ["title"]
    assert reply["tasks"] == verdict(post_form(client, title=kept, video_id="1"))["tasks"]


def test_arms_are_sticky_by_video_id_else_by_content(client: httpx.Client, clip: bytes) -> None:
    arms = {}
    for i in range(12):
        reply = post_form(client, title="a cat", video_id=f"v{i}")
        assert reply.headers["x-arm"] == verdict(reply)["arm"]
        arms[f"v{i}"] = reply.headers["x-arm"]
    assert set(arms.values()) == {"baseline", "student"}
    assert all(post_form(client, title="news", video_id=unit).headers["x-arm"] == arm for unit, arm in arms.items())
    by_content = {post_form(client, clip, title=f"title {i}").headers["x-arm"] for i in range(4)}
    assert len(by_content) == 1


def test_ids_and_timings_are_in_the_headers(client: httpx.Client, clip: bytes) -> None:
    reply = client.post("/classify", content=clip, headers={"Content-Type": "video/mp4", "X-Request-Id": "caller-1"})
    assert reply.headers["x-request-id"] == verdict(reply)["request_id"] == "caller-1"
    stages = [part.split(";")[0] for part in reply.headers["server-timing"].split(", ")]
    assert stages == [
        "fetch",
        "assignment",
        "log",
        "tokenisation",
        "price",
        "decode_wait",
        "decode",
        "queue",
        "inference",
        "decision",
    ]
    assert set(verdict(reply)["timings_ms"]) == set(stages)
    refused = client.post("/classify", headers={"X-Request-Id": "bad id"})
    assert refused.headers["x-request-id"] != "bad id"
    assert refused.json()["instance"].endswith(refused.headers["x-request-id"])


def test_openapi_shows_both_forms_and_every_problem(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/classify"]["post"]
    assert set(operation["requestBody"]["content"]) == {
        "multipart/form-data",
        "video/*",
        "application/octet-stream",
    }
    assert {"200", "400", "413", "415", "422", "429", "500", "503", "504"} <= set(operation["responses"])
    Verdict.model_validate(operation["responses"]["200"]["content"]["application/json"]["example"])
    for status, response in operation["responses"].items():
        if status != "200":
            for example in response["content"]["application/problem+json"]["examples"].values():
                assert Problem.model_validate(example["value"]).status == int(status)
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert client.get("/docs").status_code == 200


def test_probes_and_metrics(client: httpx.Client, clip: bytes) -> None:
    verdict(post_form(client, clip, title="a cat"))
    assert client.get("/livez").json() == {"live": True}
    assert client.get("/readyz").json() == {"ready": True, "reasons": []}
    text = client.get("/metrics").text
    for wanted in (
        'cpfd_requests_total{arm="',
        'cpfd_stage_duration_seconds_bucket{le="0.001",stage="decode"}',
        "cpfd_batch_size_bucket",
        "cpfd_queue_depth",
        "cpfd_model_info",
        "cpfd_build_info",
        "cpfd_score_bucket",
        "cpfd_inflight_requests 0.0",
        "cpfd_inflight_bytes 0.0",
        "cpfd_ready 1.0",
    ):
        assert wanted in text


@pytest.mark.parametrize("priority", ["interactive", "bulk"])
def test_a_priority_changes_no_verdict(client: httpx.Client, clip: bytes, priority: str) -> None:
    headers = {"Content-Type": "video/mp4", "X-Request-Priority": priority}
    assert verdict(client.post("/classify", content=clip, headers=headers))["video"]["codec"] == "h264"
    refused = client.post("/classify", content=clip, headers=headers | {"X-Request-Priority": "urgent"})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_field")


@pytest.mark.parametrize("header", ["0", "soon", "20"])
def test_a_bad_deadline_is_refused(client: httpx.Client, header: str) -> None:
    refused = client.post("/classify", files={"title": (None, "x")}, headers={"X-Request-Timeout-Ms": header})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_field")
