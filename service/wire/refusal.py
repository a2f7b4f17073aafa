"""An answer that no route gives: the caller reads a problem as from everywhere else, and it is counted once."""

from __future__ import annotations

from uuid import uuid4

from service.api.problem import MEDIA_TYPE, outcome_of, problem_of
from service.context import RequestContext
from service.errors import ServiceError
from service.metrics import NO_ARM, OTHER_ROUTE, Metrics


def refusal(error: ServiceError, metrics: Metrics, stage: str) -> bytes:
    """The whole answer to a request that no route has seen; it closes the connection.

    It is counted here, under its code, of route ``other`` (its path may not have been read) and of no arm.
    """
    metrics.requests.labels(OTHER_ROUTE, error.code, NO_ARM, outcome_of(error.code)).inc()
    problem = problem_of(error, RequestContext(uuid4().hex, stage=stage))
    body = problem.model_dump_json().encode()
    again = f"retry-after: {error.retry_after_s}\r\n" if error.retry_after_s is not None else ""
    head = (
        f"HTTP/1.1 {problem.status} {problem.title}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        f"x-request-id: {problem.request_id}\r\n{again}connection: close\r\n\r\n"
    )
    return head.encode() + body
