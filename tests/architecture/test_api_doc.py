"""What docs/api.md tells a caller is so: the codes, the settings, the reply, and the decision made of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from contract import errors as contract_errors
from service import errors as service_errors
from service.api.openapi import REQUEST
from service.api.problem import STATUSES, problem_of
from service.api.schemas import Verdict
from service.context import RequestContext
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "api.md").read_text()
_UNSEEN = {"client_gone", "invalid_input"}
"""Codes that no caller reads: of a connection that is closed, and of a code that this version does not know."""


def meanings() -> dict[str, str]:
    """Code -> its meaning, from the trees at the top of both modules of errors."""
    trees = f"{service_errors.__doc__}{contract_errors.__doc__}"
    return {code: text for text, code in re.findall(r"── \w+ {2,}(\S.*?) +([a-z_]+)$", trees, re.MULTILINE)}


def classes() -> dict[str, type[Exception]]:
    found: dict[str, type[Exception]] = {}
    waiting: list[type[Any]] = [service_errors.ServiceError, contract_errors.InputError]
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        if not issubclass(one, service_errors.StartError):
            found[one.code] = one
    return found


def table() -> str:
    """The codes that docs/api.md should list."""
    meaning, lines = meanings(), ["| status | code | meaning | the same request again |", "|---|---|---|---|"]
    for code, (status, title) in sorted(STATUSES.items(), key=lambda entry: entry[1][0]):
        if code in _UNSEEN:
            continue
        problem = problem_of(classes()[code]("detail"), RequestContext("id"))
        again = "once" if code == "decode_crashed" else "yes" if problem.retryable else "no"
        lines.append(f"| {status} | `{code}` | {meaning.get(code, title)} | {again} |")
    return "\n".join(lines)


def test_the_codes_are_the_services() -> None:
    block = re.search(r"<!-- codes -->\n(.*?)\n<!-- /codes -->", TEXT, re.DOTALL)
    assert block is not None
    assert block.group(1) == table(), f"docs/api.md should hold:\n{table()}"


def test_every_error_that_a_caller_may_see_has_a_status() -> None:
    assert set(classes()) - set(STATUSES) == set()


def test_every_setting_named_exists() -> None:
    names = set(re.findall(r"`((?:body|decode|admission|deadline)\.[a-z_.]+)`", TEXT))
    assert {"body.max_media_bytes", "deadline.max_ms", "decode.limits.max_duration_s"} <= names
    settings = Settings()
    for name in names:
        value: Any = settings
        for part in name.split("."):
            assert part in type(value).model_fields, name
            value = getattr(value, part)


def test_every_code_named_exists() -> None:
    named = set(re.findall(r"\d{3} `([a-z_]+)`", TEXT)) | set(re.findall(r"\| `([a-z_]+)` \|$", TEXT, re.MULTILINE))
    assert {"body_too_large", "frame_too_large"} <= named
    assert named - set(STATUSES) == set()


def test_the_fields_are_those_of_the_form() -> None:
    properties = REQUEST["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    table_of_fields = TEXT[TEXT.index("| field |") : TEXT.index("Video or text may be missing")]
    rows = re.findall(r"^\| (`[^|]*`) \|", table_of_fields, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(properties)


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture
def reply() -> dict[str, Any]:
    verdict = Verdict.model_validate_json(block("json"))
    assert set(verdict.tasks) == {"violence", "restricted_object", "clickbait", "news_politics"}
    loaded: dict[str, Any] = json.loads(block("json"))
    return loaded


def action(verdict: dict[str, Any]) -> tuple[str, float]:
    names: dict[str, Any] = {}
    exec(compile(block("python"), "docs/api.md", "exec"), names)
    result: tuple[str, float] = names["action"](verdict)
    return result


def test_the_reply_leads_to_the_decision_that_is_told(reply: dict[str, Any]) -> None:
    what, priority = action(reply)
    assert f'`("{what}", {priority})`' in TEXT


def test_an_unsupported_or_unflagged_task_decides_nothing(reply: dict[str, Any]) -> None:
    reply["tasks"]["violence"]["flagged"] = True  # which a service never says of a task that is not supported
    assert action(reply)[0] == "publish_and_demote"
    reply["tasks"]["clickbait"]["flagged"] = False
    assert action(reply) == ("publish", 0.0)
    reply["tasks"]["violence"]["supported"] = True
    assert action(reply)[0] == "hold_for_review"
