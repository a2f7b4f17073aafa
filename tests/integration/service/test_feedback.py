"""POST /feedback over a real socket: taken whole or not at all, once, on the disk when it answers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.decision_log import Feedback, name_hash
from tests.integration.service.conftest import Running, bundles, environment, launch, wait_until_ready
from tests.integration.service.test_classify import post_form, verdict

__all__ = ["bundles"]
TOKEN = "for-reviewers-only"
BY_TOKEN = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, bundles: Path, directory: Path) -> Iterator[Running]:
    log = tmp_path_factory.mktemp("service") / "log"
    settings = {
        "CPFD_LOG__DIRECTORY": str(directory),
        "CPFD_FEEDBACK__TOKEN": TOKEN,
        "CPFD_FEEDBACK__MAX_BYTES": "4096",
        "CPFD_FEEDBACK__MAX_ITEMS": "5",
    }
    started = wait_until_ready(launch(log, environment(bundles, **settings)), log)
    yield started
    assert started.stop() == 0
    assert TOKEN not in log.read_text()


@pytest.fixture
def reviewer(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=20, headers=BY_TOKEN) as client:
        yield client


def item(**fields: Any) -> dict[str, Any]:
    given = {"feedback_id": "r-1", "video_id": "clip-1", "task": "violence", "labels": ["violent"], "source": "review"}
    return {name: value for name, value in (given | fields).items() if value is not ...}


def stored(directory: Path) -> list[Feedback]:
    found = []
    for path in directory.glob("*.sqlite"):
        connection = sqlite3.connect(path)
        connection.row_factory = sqlite3.Row
        found += [Feedback.of_row(dict(row)) for row in connection.execute("SELECT * FROM feedback ORDER BY rowid")]
        connection.close()
    return found


def problem(reply: httpx.Response) -> tuple[int, str]:
    assert reply.headers["content-type"] == "application/problem+json"
    return reply.status_code, reply.json()["code"]


def test_one_and_several_are_on_the_disk_and_once(reviewer: httpx.Client, directory: Path) -> None:
    decided = verdict(post_form(reviewer, title="a cat"))["decision_id"]
    one = item(
        feedback_id="a-1",
        video_id=...,
        decision_id=decided,
        sampled_with=0.25,
        views=7,
        attributes={"country": "se"},
    )
    reply = reviewer.post("/feedback", json=one)
    assert (reply.status_code, reply.json()) == (200, {"taken": 1})
    several = [one | {"task": "topics", "labels": []}, item(feedback_id="a-2")]
    for _ in range(2):
        assert reviewer.post("/feedback", json=several).json() == {"taken": 2}
    assert reviewer.post("/feedback", json=one | {"labels": ["calm"]}).status_code == 200  # the first stands
    found = {(label.feedback_id, label.task): label for label in stored(directory) if label.feedback_id[:2] == "a-"}
    assert len([label for label in stored(directory) if label.feedback_id[:2] == "a-"]) == len(found) == 3
    first = found["a-1", "violence"]
    assert (first.decision_id, first.labels, first.sampled_with, first.views) == (decided, ("violent",), 0.25, 7)
    assert first.attributes == {"country": "se"}
    assert found["a-2", "violence"].video_hash == name_hash("clip-1")
    assert found["a-1", "topics"].labels == ()


@pytest.mark.parametrize(
    "change",
    [
        {"feedback_id": ...},
        {"feedback_id": "x" * 129},
        {"feedback_id": "\ud800"},
        {"video_id": ...},
        {"decision_id": "0" * 32},
        {"video_id": ..., "decision_id": "0" * 31},
        {"task": "voilence"},
        {"labels": ["violent", "calm"]},
        {"labels": ["brutal"]},
        {"labels": "violent"},
        {"labels": []},
        {"task": "topics", "labels": ["news", "news"]},
        {"sampled_with": 0},
        {"sampled_with": 1.5},
        {"sampled_with": "0.5"},
        {"views": -1},
        {"attributes": {f"a{i}": "b" for i in range(17)}},
        {"attributes": {"a": 1}},
        {"label": "violent"},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_whole_and_not_quoted(
    reviewer: httpx.Client, directory: Path, change: dict[str, Any]
) -> None:
    body = [item(feedback_id="b-1"), item(**{"feedback_id": "b-2"} | change)]
    reply = reviewer.post("/feedback", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert problem(reply) == (400, "invalid_field")
    assert reply.json()["detail"].startswith("item 1: ")
    for sent in ("voilence", "brutal", "xxxx"):
        assert sent not in reply.text
    assert not [label for label in stored(directory) if label.feedback_id.startswith("b-")]


@pytest.mark.parametrize(
    ("content", "headers", "expected"),
    [
        (b"{", {}, (400, "malformed_body")),
        (b"\xff\xfe\x00", {}, (400, "malformed_body")),
        (b"[" * 4000, {}, (400, "malformed_body")),
        (b"", {}, (400, "empty_body")),
        (b"[]", {}, (400, "invalid_field")),
        (b"3", {}, (400, "invalid_field")),
        (json.dumps([item()] * 6).encode(), {}, (400, "invalid_field")),
        (b" " * 4097, {}, (413, "body_too_large")),
        (b"{}", {"Content-Type": "text/plain"}, (415, "unsupported_content_type")),
        (b"{}", {"Content-Encoding": "gzip"}, (415, "unsupported_content_type")),
        (b"{}", {"Authorization": ""}, (401, "unauthorized")),
        (b"{}", {"Authorization": TOKEN}, (401, "unauthorized")),
        (b"{}", {"Authorization": f"Bearer {TOKEN[:-1]}"}, (401, "unauthorized")),
    ],
)
def test_a_body_that_is_none(
    reviewer: httpx.Client, content: bytes, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    reply = reviewer.post("/feedback", content=content, headers={"Content-Type": "application/json"} | headers)
    assert problem(reply) == expected
    assert ("www-authenticate" in reply.headers) == (expected[0] == 401)


def test_a_body_without_a_length_is_bounded_too(reviewer: httpx.Client) -> None:
    chunks = (b" " * 1000 for _ in range(10))
    reply = reviewer.post("/feedback", content=chunks, headers={"Content-Type": "application/json"})
    assert problem(reply) == (413, "body_too_large")


def test_without_a_log_there_is_no_feedback(client: httpx.Client) -> None:
    assert problem(client.post("/feedback", json=item())) == (404, "not_found")


def test_the_scheme_is_read_without_regard_to_case(running: Running) -> None:
    headers = {"Authorization": f"bearer {TOKEN}"}
    assert httpx.post(f"{running.url}/feedback", json=item(), headers=headers).status_code == 200


def test_requests_are_counted_by_route(reviewer: httpx.Client) -> None:
    reviewer.post("/feedback", json=item())
    assert (
        'cpfd_requests_total{arm="none",code="ok",outcome="answered",route="/feedback"}'
        in reviewer.get("/metrics").text
    )
