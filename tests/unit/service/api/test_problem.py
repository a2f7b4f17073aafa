"""Problems: every code has a status, and nothing of a stranger's exception leaks."""

from __future__ import annotations

import json

import pytest
from starlette.exceptions import HTTPException

import contract.errors
import service.errors
from contract.errors import InputError
from service.api.problem import STATUSES, outcome_of, problem_of, problem_response
from service.context import RequestContext
from service.errors import Overloaded, ServiceError, StartError, Unauthorized


def tree(top: type) -> set[type]:
    return {top} | {deep for child in top.__subclasses__() for deep in tree(child)}


def test_every_error_that_a_request_can_meet_stands_in_the_table() -> None:
    codes = {kind.code for kind in tree(InputError) | (tree(ServiceError) - tree(StartError))}  # type: ignore[attr-defined]
    assert codes == set(STATUSES)


def test_the_trees_drawn_in_the_modules_name_every_class_and_code() -> None:
    for module, top in ((contract.errors, InputError), (service.errors, ServiceError)):
        assert module.__doc__ is not None
        for kind in tree(top):
            assert kind.__name__ in module.__doc__
            if not kind.__subclasses__():
                assert kind.code in module.__doc__  # type: ignore[attr-defined]


def test_a_problem_says_what_rfc_9457_asks_for() -> None:
    context = RequestContext("r1", stage="fetch")
    response = problem_response(Overloaded("come back", retry_after_s=7), context)
    assert response.status_code == 429
    assert response.media_type == "application/problem+json"
    assert response.headers["retry-after"] == "7"
    assert json.loads(response.body) == {
        "type": "urn:cpfd:problem:overloaded",
        "title": "Overloaded",
        "status": 429,
        "detail": "come back",
        "instance": "urn:cpfd:request:r1",
        "code": "overloaded",
        "retryable": True,
        "stage": "fetch",
        "request_id": "r1",
        "decision_id": None,
    }
    assert context.code == "overloaded"


@pytest.mark.parametrize("error", [RuntimeError("/secret/path"), KeyError("/secret"), HTTPException(500, "/secret")])
def test_a_stranger_says_nothing_of_itself(error: Exception) -> None:
    problem = problem_of(error, RequestContext("r"))
    assert (problem.status, problem.code, problem.retryable) == (500, "internal_error", False)
    assert "secret" not in problem.model_dump_json()


@pytest.mark.parametrize(("status", "code"), [(404, "not_found"), (405, "method_not_allowed"), (400, "bad_request")])
def test_the_frameworks_refusals_are_typed(status: int, code: str) -> None:
    assert problem_of(HTTPException(status, "x"), RequestContext("r")).code == code


def test_outcomes_say_who_acts() -> None:
    assert [outcome_of(code) for code in ("ok", "no_frames", "draining", "client_gone", "inference_failed")] == [
        "answered",
        "refused",
        "shed",
        "gone",
        "failed",
    ]
    assert outcome_of("deadline_exceeded") == "failed"


def test_a_problem_after_assignment_names_its_decision() -> None:
    context = RequestContext("r1", arm="student")
    assert problem_of(Overloaded("later"), context).decision_id == context.decision_id


def test_who_lacks_a_token_is_told_how_to_show_it() -> None:
    response = problem_response(Unauthorized("no"), RequestContext("r1"))
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
