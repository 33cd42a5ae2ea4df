"""What a refusal says: of the API, of what we have added, of this upstream alone."""

from __future__ import annotations

import json

import pytest

from everytoken.errors import StatusError
from everytoken.recovery.refusals import is_only_here, lacks_path, refuses_additions


def refusal(status: int, body: object) -> StatusError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return StatusError("refused", upstream_status=status, body=data)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, b"404 page not found", True),
        (404, {"detail": "Not Found"}, True),
        (
            404,
            {"error": {"message": "Invalid URL (POST /v1/messages)", "type": "invalid_request_error"}},
            True,
        ),
        (404, b"", True),
        (405, {"detail": "Method Not Allowed"}, True),
        (501, b"", True),
        (404, {"error": {"message": "The model `m` does not exist", "code": "model_not_found"}}, False),
        (404, {"error": {"message": "no such thing", "code": "model_not_found"}}, False),
        (404, {"object": "error", "message": "The model `m` does not exist.", "code": 404}, False),
        (404, {"error": 'model "m" not found, try pulling it first'}, False),
        (400, {"detail": "Not Found"}, False),
        (401, b"", False),
        (500, b"", False),
    ],
)
def test_a_path_that_is_missing_is_told_from_a_model_that_is(status, body, expected):
    assert lacks_path(refusal(status, body)) == expected


@pytest.mark.parametrize(
    ("status", "body", "additions", "here"),
    [
        (400, {"error": {"message": "Unknown parameter: 'seed'.", "param": "seed"}}, True, False),
        (422, {"detail": "stream_options is not permitted"}, True, False),
        (404, {"error": {"message": "No endpoints found that support the parameters"}}, True, True),
        (400, {"error": {"message": "bad request"}}, False, False),
        (401, {"error": {"message": "wrong key"}}, False, True),
        (400, {"error": {"message": "too long", "code": "context_length_exceeded"}}, False, True),
    ],
)
def test_what_we_added_and_what_is_only_here(status, body, additions, here):
    error = refusal(status, body)
    assert (refuses_additions(error), is_only_here(error)) == (additions, here)
