"""Any failure -> an RFC 9457 problem. The one table of status codes stands here."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.responses import Response

from contract.errors import InputError
from service.api.schemas import Problem
from service.context import RequestContext
from service.errors import BadRequest, MethodNotAllowed, NotFound, ServiceError, Unauthorized, Unexpected
from service.metrics import NO_ARM

MEDIA_TYPE = "application/problem+json"

# code -> (status, title). A code that is not here is a 422: contract.errors may grow.
STATUSES: Mapping[str, tuple[int, str]] = {
    "empty_body": (400, "Empty body"),
    "malformed_body": (400, "Malformed body"),
    "unknown_field": (400, "Unknown field"),
    "repeated_field": (400, "Repeated field"),
    "invalid_field": (400, "Invalid field"),
    "bad_request": (400, "Bad request"),
    "unauthorized": (401, "Unauthorized"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "head_stalled": (408, "Head stalled"),
    "upload_stalled": (408, "Upload stalled"),
    "body_too_large": (413, "Body too large"),
    "text_too_large": (413, "Text too large"),
    "unsupported_content_type": (415, "Unsupported content type"),
    "no_input": (422, "Nothing to classify"),
    "invalid_input": (422, "Invalid input"),
    "invalid_text": (422, "Invalid text"),
    "empty_video": (422, "Empty video"),
    "unsupported_media": (422, "Unsupported media"),
    "no_video_stream": (422, "No video stream"),
    "no_frames": (422, "No frames"),
    "corrupt_video": (422, "Corrupt video"),
    "truncated_video": (422, "Truncated video"),
    "frame_too_large": (422, "Frame too large"),
    "video_too_long": (422, "Video too long"),
    "decode_budget_exceeded": (422, "Decode budget exceeded"),
    "deadline_too_short": (422, "Deadline too short"),
    "decode_timeout": (422, "Decode timeout"),
    "decode_crashed": (422, "Decoder crashed"),
    "quarantined_video": (422, "Video in quarantine"),
    "head_too_large": (431, "Head too large"),
    "overloaded": (429, "Overloaded"),
    "client_gone": (499, "Client closed the request"),
    "inference_failed": (500, "Inference failed"),
    "internal_error": (500, "Internal error"),
    "not_ready": (503, "Not ready"),
    "decoder_lost": (503, "Decoder lost"),
    "draining": (503, "Shutting down"),
    "too_many_connections": (503, "Too many connections"),
    "storage_exhausted": (503, "No room for the upload"),
    "log_unavailable": (503, "Decision log unavailable"),
    "deadline_exceeded": (504, "Deadline exceeded"),
}
# Not every crash comes again. A second one quarantines the clip.
_WORTH_ANOTHER_TRY = frozenset({"decode_crashed"})
OUTCOMES: Mapping[str, str] = {
    "client_gone": "gone",
    "overloaded": "shed",
    "not_ready": "shed",
    "draining": "shed",
    "too_many_connections": "shed",
}


def outcome_of(code: str, *, deadline_chosen: bool = False) -> str:
    """What becomes of a request with this code.

    ``answered``, ``gone``, ``shed`` (the caller retries), ``refused`` (the caller changes it), ``expired`` (the caller
    asked for less time than the service gives by itself, and it did not suffice) or ``failed``.
    """
    if code == "ok":
        return "answered"
    if code == "deadline_exceeded" and deadline_chosen:
        return "expired"
    return OUTCOMES.get(code) or ("refused" if status_of(code)[0] < 500 else "failed")


def status_of(code: str) -> tuple[int, str]:
    """HTTP status and title of a code."""
    return STATUSES.get(code, (422, "Invalid input"))


def problem_of(error: Exception, context: RequestContext) -> Problem:
    """The document for any exception; one that is not ours says nothing of itself."""
    if isinstance(error, HTTPException):
        error = _from_http(error)
    if not isinstance(error, ServiceError | InputError):
        error = Unexpected("the service failed on this request; the operator was told")
    status, title = status_of(error.code)
    return Problem(
        type=f"urn:cpfd:problem:{error.code}",
        title=title,
        status=status,
        detail=error.detail,
        instance=f"urn:cpfd:request:{context.request_id}",
        code=error.code,
        retryable=status in (408, 429, 503, 504) or error.code in _WORTH_ANOTHER_TRY,
        stage=context.stage,
        request_id=context.request_id,
        decision_id=context.decision_id if context.arm != NO_ARM else None,
    )


def problem_response(error: Exception, context: RequestContext) -> Response:
    """The answer for any exception; notes its code in the context."""
    problem = problem_of(error, context)
    context.code = problem.code
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, ServiceError) and error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return Response(problem.model_dump_json(), problem.status, headers, MEDIA_TYPE)


def _from_http(error: HTTPException) -> ServiceError:
    """Starlette's own refusals, typed."""
    if error.status_code == HTTPStatus.NOT_FOUND:
        return NotFound("there is no such path: POST /classify, or read /docs")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed("this path does not take this method: POST /classify, or read /docs")
    if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return BadRequest("the request is not one this service takes: read /docs")
    return Unexpected("the service failed on this request; the operator was told")
