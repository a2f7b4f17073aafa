"""What /openapi.json says of POST /classify: the two request forms, the verdict, and every problem."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Set
from typing import Any

from service.api.problem import MEDIA_TYPE, STATUSES
from service.api.schemas import VERDICT_EXAMPLE, Problem
from service.context import DEADLINE_HEADER, PRIORITY_HEADER
from service.experiment.assigner import FORCE_HEADER
from service.experiment.log.feedback import FeedbackItem
from service.scheduling.policy import ASKED_FOR
from service.settings import DeadlineSettings
from service.stages.form import QUERY_FIELDS

DESCRIPTION = """\
Classifies a video, its texts, or both. Send a form, or the video alone as the body with its texts in the query.
The same `video_id` is always answered by the same arm (the same `account_id`, where the operator experiments on
accounts); without one the content decides.
"""
FEEDBACK_DESCRIPTION = """\
Labels that reviewers give later: one object, or a list of them. All are taken or none; once it answers, they are on the
disk. The same `feedback_id` for the same task counts once, so sending again is safe.
"""
_FEEDBACK_CODES = frozenset(
    {
        "empty_body",
        "malformed_body",
        "invalid_field",
        "bad_request",
        "unauthorized",
        "not_found",
        "upload_stalled",
        "body_too_large",
        "unsupported_content_type",
        "overloaded",
        "internal_error",
        "not_ready",
        "draining",
        "log_unavailable",
    }
)
_TEXTS: dict[str, dict[str, Any]] = {
    "title": {"type": "string", "description": "The title. What is over the model's token budget is not read."},
    "overlay_text": {"type": "string", "description": "Text shown in the video, such as OCR or stickers."},
    "video_id": {"type": "string", "maxLength": 256, "description": "Your name of the clip: it sticks to one arm."},
    "account_id": {
        "type": "string",
        "maxLength": 256,
        "description": "Your name of whoever uploaded it: what sticks to one arm where the operator says so.",
    },
}
_HEADERS: dict[str, str] = {
    "X-Request-Id": "Echoed, or made; 1 to 128 of A-Z a-z 0-9 . _ : -",
    "X-Arm": "The arm that answered.",
    "Server-Timing": "Milliseconds in each stage.",
}
REQUEST: dict[str, Any] = {
    "parameters": [
        *(
            {
                "name": name,
                "in": "query",
                "schema": {"type": "string"},
                "description": f"{_TEXTS[name]['description']} Only beside a raw body.",
            }
            for name in QUERY_FIELDS
        ),
        {"name": "X-Request-Id", "in": "header", "schema": {"type": "string"}, "description": "Echoed in the answer."},
        {
            "name": DEADLINE_HEADER,
            "in": "header",
            "schema": {"type": "integer", "minimum": DeadlineSettings().min_ms},
            "description": "How long you will wait. What cannot be answered by then is refused at once: 422 where it "
            "never can, 429 where there is too much to do now (`Retry-After` says when to come back). Past it: 504, or "
            "408 where the body has not all come.",
        },
        {
            "name": PRIORITY_HEADER,
            "in": "header",
            "schema": {"type": "string", "enum": [priority.value for priority in ASKED_FOR], "default": "interactive"},
            "description": "`bulk` goes after everything else, and is the first to be sent away.",
        },
        {
            "name": FORCE_HEADER,
            "in": "header",
            "schema": {"type": "string"},
            "description": "The arm that must answer, for tests: with the operator's token as `Authorization: Bearer`. "
            "The answer is no part of the experiment.",
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"video": {"type": "string", "format": "binary"}, **_TEXTS},
                }
            },
            "video/*": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}


def feedback_request() -> dict[str, Any]:
    """The body of POST /feedback."""
    item = FeedbackItem.model_json_schema()
    schema = {"oneOf": [item, {"type": "array", "items": item, "minItems": 1}]}
    example = {
        "feedback_id": "review-81723",
        "decision_id": "b7e23ec29af22b0b4e41da31e868d572",
        "task": "violence",
        "labels": ["violent"],
        "source": "review",
    }
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


def feedback_responses() -> dict[int | str, dict[str, Any]]:
    """Status -> what it holds, of POST /feedback."""
    return _problems(_FEEDBACK_CODES)


def responses() -> dict[int | str, dict[str, Any]]:
    """Status -> what it holds; every code of the status table once, as an example."""
    verdict: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "The verdict.",
            "content": {"application/json": {"example": VERDICT_EXAMPLE}},
            "headers": {
                name: {"schema": {"type": "string"}, "description": description}
                for name, description in _HEADERS.items()
            },
        }
    }
    return verdict | _problems(STATUSES.keys())


def _problems(codes: Set[str]) -> dict[int | str, dict[str, Any]]:
    """Status -> its problems among the codes, as examples."""
    by_status: dict[int, dict[str, Any]] = defaultdict(dict)
    for code, (status, title) in STATUSES.items():
        if status != 499 and code in codes:
            by_status[status][code] = {"summary": title, "value": _example(code, status, title)}
    found: dict[int | str, dict[str, Any]] = {}
    schema = {"$ref": "#/components/schemas/Problem"}
    for status, examples in sorted(by_status.items()):
        titles = "; ".join(example["summary"] for example in examples.values())
        found[status] = {"description": titles, "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}}}
    return found


def _example(code: str, status: int, title: str) -> dict[str, Any]:
    return Problem(
        type=f"urn:cpfd:problem:{code}",
        title=title,
        status=status,
        detail="What to change, or when to come back.",
        instance="urn:cpfd:request:2f1c9d8e7b6a4f53",
        code=code,
        retryable=status in (408, 429, 503, 504),
        stage="fetch",
        request_id="2f1c9d8e7b6a4f53",
    ).model_dump()


def with_problem_schema(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document, with the Problem schema that ``responses`` refers to."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema()
    return document
