"""What a refusal says: of the API, of what we have added, of this upstream alone."""

from __future__ import annotations

import json

import pytest

from everytoken.errors import StatusError
from everytoken.recovery.refusals import is_in, is_only_here, lacks_path, refused_field, refuses_additions


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


PATHS = [
    "temperature",
    "user",
    "reasoning_effort",
    "reasoning",
    "text.verbosity",
    "output_config.effort",
    "max_tokens",
]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"message": "Unsupported", "param": "reasoning_effort"}}, "reasoning_effort"),
        ({"error": {"message": "Unsupported", "param": "reasoning.effort"}}, "reasoning"),
        ({"error": {"message": "Unsupported", "param": "text.verbosity"}}, "text.verbosity"),
        (
            {"error": {"message": "Unrecognized request argument supplied: reasoning_effort"}},
            "reasoning_effort",
        ),
        (
            {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model."}},
            "max_tokens",
        ),
        ({"error": {"message": "`temperature` is deprecated for this model."}}, "temperature"),
        (
            {"error": {"message": "output_config.effort: Extra inputs are not permitted"}},
            "output_config.effort",
        ),
        (
            {
                "detail": [
                    {
                        "loc": ["body", "reasoning_effort"],
                        "msg": "Extra inputs are not permitted",
                        "type": "extra_forbidden",
                    }
                ]
            },
            "reasoning_effort",
        ),
        ({"error": {"message": "messages: the last user message is empty"}}, None),
        ({"error": {"message": "the user is not allowed to reason at this temperature"}}, None),
        ({"error": {"message": "too long", "param": "messages"}}, None),
        ({"error": {"message": "'temperature' is too hot", "param": "messages"}}, None),
        (b"no JSON: 'temperature'", None),
    ],
)
def test_a_field_is_refused_where_it_is_named_as_one(body, expected):
    assert refused_field(refusal(400, body), PATHS) == expected
    assert refused_field(refusal(401, body), PATHS) is None


def test_a_field_is_in_a_request_if_it_says_something():
    body = {"text": {"verbosity": "low"}, "reasoning": None, "output_config": {"effort": None}, "user": ""}
    assert [path for path in PATHS if is_in(body, path)] == ["user", "text.verbosity"]
