"""What schemathesis is told beyond the document: loaded by it, not by us."""

from __future__ import annotations

import atexit
import collections
import itertools
import json
import os
from pathlib import Path
from typing import Any

import schemathesis

from seed import CURSOR, session_of
from server import Server

FUZZ = json.loads(os.environ["CHATCORE_FUZZ"])
SERVER = Server(FUZZ["url"])
OWN = f"Bearer {FUZZ['token']}"
# Calls that end the session which they come from, or another one of the caller's.
ENDING = ("POST /auth/logout", "DELETE /auth/sessions/{id}", "PUT /auth/password")

answers: dict[str, collections.Counter[int]] = collections.defaultdict(collections.Counter)
strangers = itertools.count()


def label(case: Any) -> str:
    return f"{case.operation.method.upper()} {case.operation.path}"


@schemathesis.hook
def map_query(context: Any, query: dict[str, Any]) -> dict[str, Any]:
    """The dictionary's cursor becomes one of the very list; in others it is none."""
    if query and query.get("cursor") == CURSOR:
        operation = context.operation
        real = FUZZ["cursors"].get(f"{operation.method.upper()} {operation.path}")
        if real is not None:
            query["cursor"] = real
    return query


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Calls that end sessions are made by somebody who has just come, and who is there for nothing else."""
    if label(case) not in ENDING or case.method.upper() != case.operation.method.upper():
        return
    # The checks leave the token out, or send a wrong one: that stays as it is.
    if (case.headers or {}).get("Authorization") != OWN:
        return
    name = f"stranger_{next(strangers)}"
    SERVER.register(name)
    token = SERVER.login(name)["access_token"]
    case.headers["Authorization"] = f"Bearer {token}"
    parameters = case.path_parameters or {}
    if parameters.get("id") in FUZZ["sessions"]:
        parameters["id"] = session_of(SERVER, token)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    if case.method.upper() == case.operation.method.upper():
        answers[label(case)][response.status_code] += 1


@atexit.register
def write_answers() -> None:
    Path(FUZZ["answers"]).write_text(json.dumps(answers))


# What a schema cannot say, as (code of the field, field), where `*` is any field.
UNSAYABLE = {
    # What exists, what is allowed, what is right.
    ("unknown", "*"),
    ("not_allowed", "*"),
    ("wrong", "current_password"),
    ("range", "seq"),  # beyond the head
    # Nothing to see, or control characters, after trimming and normalisation, which can also lengthen.
    ("blank", "*"),
    ("characters", "*"),
    ("too_long", "display_name"),
    ("too_long", "name"),
    ("too_long", "body"),
    ("too_short", "q"),
    ("too_long", "q"),
    # Bytes and graphemes, not characters.
    ("too_long", "emoji"),
    ("format", "emoji"),
    ("too_long", "email"),
}
MALFORMED = (
    "cursor is not one that this server gave out",
    "exclude one another",
    "ids or q has to be given",
    "a WebSocket handshake over HTTP/1.1 is expected here",
)


@schemathesis.check
def refusal_of_valid_data_has_a_reason(context: Any, response: Any, case: Any) -> None:
    """What the document allows is refused only for what a document cannot say."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code not in (400, 422):
        return
    problem = json.loads(response.content)
    if response.status_code == 400:
        assert any(text in problem["detail"] for text in MALFORMED), (
            f"refused what the document allows: {problem['detail']}"
        )
        return
    for error in problem["errors"]:
        field = error["field"].split("[")[0]
        known = (error["code"], "*") in UNSAYABLE or (error["code"], field) in UNSAYABLE
        assert known, f"refused what the document allows: {error['field']} {error['message']} ({error['code']})"


@schemathesis.check
def errors_have_their_form(context: Any, response: Any, case: Any) -> None:
    """Every error is a problem, whose status is that of the answer, and says under which id it is logged."""
    if response.status_code < 400:
        return
    problem = json.loads(response.content)
    assert problem["status"] == response.status_code, "the status of the problem is another"
    assert problem["type"] == "about:blank", "the type of a problem is about:blank"
    assert [problem["request_id"]] == list(response.headers["x-request-id"]), "the request id of the problem is another"
    assert ("rule" in problem) == (problem["code"] == "rule"), "rule stands exactly where the code is rule"
